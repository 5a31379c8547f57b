//! Defaults that the decoders of built-in kinds set.
//!
//! Upstream: `pkg/apis/*/v1/defaults.go` of Kubernetes, limited to defaults that a client here reads.

use serde_json::{Value, json};

use crate::json::Json as _;

/// Sets the defaults of a kind.
pub fn fill(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => pod(object, "/spec"),
        "Deployment" => deployment(object),
        "ReplicaSet" => {
            absent(object, "/spec/replicas", || json!(1));
            pod(object, "/spec/template/spec");
        }
        "DaemonSet" => {
            absent(object, "/spec/revisionHistoryLimit", || json!(10));
            absent(
                object,
                "/spec/updateStrategy",
                || json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
            );
            pod(object, "/spec/template/spec");
        }
        "StatefulSet" => {
            absent(object, "/spec/replicas", || json!(1));
            absent(object, "/spec/podManagementPolicy", || {
                json!("OrderedReady")
            });
            absent(object, "/spec/revisionHistoryLimit", || json!(10));
            pod(object, "/spec/template/spec");
        }
        "Job" => {
            for (field, value) in [("completions", 1), ("parallelism", 1), ("backoffLimit", 6)] {
                absent(object, &format!("/spec/{field}"), || json!(value));
            }
            absent(object, "/spec/completionMode", || json!("NonIndexed"));
            absent(object, "/spec/suspend", || json!(false));
            pod(object, "/spec/template/spec");
        }
        "PersistentVolumeClaim" => {
            absent(object, "/spec/volumeMode", || json!("Filesystem"));
            absent(object, "/status/phase", || json!("Pending"));
        }
        "PersistentVolume" => {
            absent(object, "/spec/volumeMode", || json!("Filesystem"));
            absent(object, "/spec/persistentVolumeReclaimPolicy", || {
                json!("Retain")
            });
            absent(object, "/status/phase", || json!("Pending"));
        }
        "StorageClass" => {
            absent(object, "/reclaimPolicy", || json!("Delete"));
            absent(object, "/volumeBindingMode", || json!("Immediate"));
        }
        "Namespace" => {
            let name = object.text("/metadata/name").to_owned();
            absent(
                object,
                "/metadata/labels/kubernetes.io~1metadata.name",
                || json!(name),
            );
            absent(object, "/status/phase", || json!("Active"));
        }
        "Secret" => absent(object, "/type", || json!("Opaque")),
        "Service" => service(object),
        "CustomResourceDefinition" => definition(object),
        _ => {}
    }
}

fn absent(object: &mut Value, pointer: &str, default: impl FnOnce() -> Value) {
    if object.pointer(pointer).is_none() {
        object.put(pointer, default());
    }
}

fn deployment(object: &mut Value) {
    absent(object, "/spec/replicas", || json!(1));
    absent(object, "/spec/revisionHistoryLimit", || json!(10));
    absent(object, "/spec/progressDeadlineSeconds", || json!(600));
    absent(object, "/spec/strategy/type", || json!("RollingUpdate"));
    if object.text("/spec/strategy/type") == "RollingUpdate" {
        for field in ["maxSurge", "maxUnavailable"] {
            absent(
                object,
                &format!("/spec/strategy/rollingUpdate/{field}"),
                || json!("25%"),
            );
        }
    }
    pod(object, "/spec/template/spec");
}

fn pod(object: &mut Value, spec: &str) {
    let Some(spec) = object.pointer_mut(spec).filter(|s| s.is_object()) else {
        return;
    };
    absent(spec, "/restartPolicy", || json!("Always"));
    absent(spec, "/dnsPolicy", || json!("ClusterFirst"));
    absent(spec, "/schedulerName", || json!("default-scheduler"));
    absent(spec, "/terminationGracePeriodSeconds", || json!(30));
    absent(spec, "/securityContext", || json!({}));
    for list in ["/initContainers", "/containers"] {
        let containers = spec.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| c.is_object()) {
            let image = container.text("/image");
            let latest = !image.contains('@')
                && image
                    .rsplit('/')
                    .next()
                    .is_none_or(|i| !i.contains(':') || i.ends_with(":latest"));
            let policy = if latest { "Always" } else { "IfNotPresent" };
            absent(container, "/imagePullPolicy", || json!(policy));
            absent(container, "/terminationMessagePath", || {
                json!("/dev/termination-log")
            });
            absent(container, "/terminationMessagePolicy", || json!("File"));
            absent(container, "/resources", || json!({}));
            let ports = container
                .pointer_mut("/ports")
                .and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter(|p| p.is_object()) {
                absent(port, "/protocol", || json!("TCP"));
            }
        }
    }
}

fn service(object: &mut Value) {
    absent(object, "/spec/type", || json!("ClusterIP"));
    absent(object, "/spec/sessionAffinity", || json!("None"));
    let ports = object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter(|p| p.is_object()) {
        absent(port, "/protocol", || json!("TCP"));
        let same = port.pointer("/port").cloned().unwrap_or_default();
        absent(port, "/targetPort", || same);
    }
}

fn definition(object: &mut Value) {
    let kind = object.text("/spec/names/kind").to_owned();
    absent(object, "/spec/names/singular", || {
        json!(kind.to_lowercase())
    });
    absent(object, "/spec/names/listKind", || {
        json!(format!("{kind}List"))
    });
    absent(object, "/spec/conversion", || json!({"strategy": "None"}));
}
