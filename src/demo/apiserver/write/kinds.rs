//! Rules of single built-in kinds: server-set fields, validation, immutable fields.
//!
//! Upstream: the `strategy.go` of each kind and `pkg/apis/*/validation` of Kubernetes.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::failure::Cause;
use crate::json::{Json as _, Meta as _};
use crate::resources::{Resource, Trait, crd};

/// Sets the fields that only the server sets.
pub fn prepare_create(resource: &Resource, object: &mut Value, revision: u64) {
    if resource.is(Trait::Custom) {
        return;
    }
    match resource.kind.as_str() {
        "Pod" => {
            object.put(
                "/status",
                json!({"phase": "Pending", "qosClass": "BestEffort"}),
            );
            if object.text("/spec/serviceAccountName").is_empty() {
                object.put("/spec/serviceAccountName", "default");
                object.put("/spec/serviceAccount", "default");
            }
        }
        "Namespace" => {
            object.put("/spec/finalizers", json!(["kubernetes"]));
            object.put("/status", json!({"phase": "Active"}));
        }
        "PersistentVolumeClaim" | "PersistentVolume" => {
            object.put("/status", json!({"phase": "Pending"}));
        }
        "Job" => label_job(object),
        "Service" if object.text("/spec/clusterIP").is_empty() => {
            // Unique as long as there are fewer writes than addresses in the service range.
            let ip = format!("10.96.{}.{}", revision / 250 % 256, revision % 250 + 1);
            object.put("/spec/clusterIPs", json!([ip]));
            object.put("/spec/clusterIP", ip);
        }
        _ => prepare_update(resource, object),
    }
}

/// Normalises a written object.
pub fn prepare_update(resource: &Resource, object: &mut Value) {
    if resource.bucket != "/secrets" {
        return;
    }
    // `stringData` is write-only: it is merged into `data`.
    let Some(Value::Object(texts)) = object.cut("/stringData") else {
        return;
    };
    for (key, text) in texts {
        let bytes = text.as_str().unwrap_or_default().as_bytes().to_vec();
        let encoded = serde_json::to_value(ByteString(bytes)).unwrap_or_default();
        let pointer = format!("/data/{}", crate::json::escape(&key));
        object.put(&pointer, encoded);
    }
}

/// A job selects its pods by its uid.
fn label_job(job: &mut Value) {
    if job.truth("/spec/manualSelector") {
        return;
    }
    let (uid, name) = (job.uid().to_owned(), job.name().to_owned());
    job.put(
        "/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid",
        uid.as_str(),
    );
    for prefix in ["", "batch.kubernetes.io~1"] {
        let labels = "/spec/template/metadata/labels";
        job.put(&format!("{labels}/{prefix}controller-uid"), uid.as_str());
        job.put(&format!("{labels}/{prefix}job-name"), name.as_str());
    }
}

/// Keys become file names, which limits their characters.
fn validate_keys(object: &Value) -> Vec<Cause> {
    let valid = |key: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !key.is_empty() && key.len() <= 253 && key.chars().all(safe) && !matches!(key, "." | "..")
    };
    let wrong = |(key, _): &(&String, &Value)| !valid(key);
    let keys = object.entries("/data").filter(wrong);
    keys.map(|(key, _)| {
        Cause::invalid(
            format!("data[{key}]"),
            &key.as_str().into(),
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        )
    })
    .collect()
}

/// Errors of a new object beyond its schema.
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if resource.is(Trait::Custom) {
        return causes;
    }
    match resource.kind.as_str() {
        "CustomResourceDefinition" => causes = crd::validate(object),
        "ConfigMap" | "Secret" => causes = validate_keys(object),
        "PersistentVolumeClaim" => {
            let request = object.pointer("/spec/resources/requests/storage");
            if request.is_none() {
                causes.push(Cause::required("spec.resources[storage]", ""));
            }
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            let selected = object.entries("/spec/selector/matchLabels").all(|(k, v)| {
                object
                    .pointer("/spec/template/metadata/labels")
                    .and_then(|l| l.get(k))
                    == Some(v)
            });
            if !selected {
                let labels = object.pointer("/spec/template/metadata/labels");
                causes.push(Cause::invalid(
                    "spec.template.metadata.labels",
                    labels.unwrap_or(&Value::Null),
                    "`selector` does not match template `labels`",
                ));
            }
        }
        _ => {}
    }
    causes
}

/// Immutable fields of a kind.
const IMMUTABLE: &[(&str, &[&str])] = &[
    ("DaemonSet", &["/spec/selector"]),
    ("Deployment", &["/spec/selector"]),
    (
        "Job",
        &["/spec/selector", "/spec/template", "/spec/completionMode"],
    ),
    ("ReplicaSet", &["/spec/selector"]),
    ("Secret", &["/type"]),
    (
        "StatefulSet",
        &[
            "/spec/selector",
            "/spec/serviceName",
            "/spec/volumeClaimTemplates",
        ],
    ),
    (
        "StorageClass",
        &[
            "/parameters",
            "/provisioner",
            "/reclaimPolicy",
            "/volumeBindingMode",
        ],
    ),
];

/// Mutable parts of a pod's spec.
const POD_MUTABLE: [&str; 3] = [
    "/spec/activeDeadlineSeconds",
    "/spec/terminationGracePeriodSeconds",
    "/spec/tolerations",
];

/// Errors of an update beyond the schema.
pub fn validate_update(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    if resource.is(Trait::Custom) {
        return Vec::new();
    }
    let kind = resource.kind.as_str();
    let fields = IMMUTABLE.iter().find(|(k, _)| *k == kind);
    let mut causes: Vec<_> = fields
        .iter()
        .flat_map(|(_, pointers)| *pointers)
        .filter(|pointer| old.pointer(pointer) != new.pointer(pointer))
        .map(|pointer| {
            let value = new.pointer(pointer).unwrap_or(&Value::Null);
            let field = pointer.trim_start_matches('/').replace('/', ".");
            Cause::invalid(field, value, "field is immutable")
        })
        .collect();
    match kind {
        "Pod" => causes.extend(pod_spec(old, new)),
        "ConfigMap" | "Secret" => causes.extend(validate_keys(new)),
        "PersistentVolumeClaim" => causes.extend(claim_spec(old, new)),
        "PersistentVolume" if old.pointer("/spec/csi") != new.pointer("/spec/csi") => {
            causes.push(Cause::forbidden(
                "spec.persistentvolumesource",
                "spec.persistentvolumesource is immutable after creation",
            ));
        }
        _ => {}
    }
    causes
}

fn pod_spec(old: &Value, new: &Value) -> Option<Cause> {
    let fixed = |pod: &Value| {
        let mut pod = pod.clone();
        for pointer in POD_MUTABLE {
            pod.cut(pointer);
        }
        for list in ["/spec/containers", "/spec/initContainers"] {
            let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                container.cut("/image");
            }
        }
        pod.cut("/spec")
    };
    (fixed(old) != fixed(new)).then(|| {
        Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`, \
             `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to \
             existing tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)",
        )
    })
}

fn claim_spec(old: &Value, new: &Value) -> Option<Cause> {
    let bound = old.text("/status/phase") == "Bound";
    let unnamed = old.text("/spec/volumeName").is_empty();
    let fixed = |claim: &Value| {
        let mut claim = claim.clone();
        if unnamed {
            claim.cut("/spec/volumeName");
        }
        if bound {
            claim.cut("/spec/resources/requests/storage");
            claim.cut("/spec/volumeAttributesClassName");
        }
        claim.cut("/spec")
    };
    (fixed(old) != fixed(new)).then(|| {
        Cause::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )
    })
}
