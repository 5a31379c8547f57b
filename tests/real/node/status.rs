//! Status patches of a kubelet.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Conditions of a pod whose containers are ready.
const READY: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// A Ready node that serves logs on `port`. Only an InternalIP: host names do not resolve here.
pub(super) fn node(port: u16) -> Value {
    let room = json!({"cpu": "16", "memory": "64Gi", "pods": "500"});
    json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "capacity": room,
        "allocatable": room,
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now(),
            "lastTransitionTime": now(),
        }],
    }})
}

/// Every container runs and is ready; `restarts` has the number of restarts of each, in order.
pub(super) fn running(pod: &Pod, restarts: &[u32]) -> Value {
    let state = json!({"running": {"startedAt": now()}});
    status(pod, "Running", "True", &state, restarts)
}

/// Every container has terminated with `code`.
pub(super) fn ended(pod: &Pod, code: i32, restarts: &[u32]) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let state = json!({"terminated": {
        "exitCode": code,
        "reason": reason,
        "startedAt": now(),
        "finishedAt": now(),
    }});
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    status(pod, phase, "False", &state, restarts)
}

fn status(pod: &Pod, phase: &str, ready: &str, state: &Value, restarts: &[u32]) -> Value {
    let uid = pod.uid().unwrap_or_default();
    let condition = |kind: &&str| {
        let depends = ["Ready", "ContainersReady"].contains(kind);
        json!({"type": kind, "status": if depends { ready } else { "True" }, "lastTransitionTime": now()})
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let container = |(container, restarts): (&k8s_openapi::api::core::v1::Container, &u32)| {
        json!({
            "name": container.name,
            "image": container.image,
            "imageID": container.image,
            "containerID": format!("containerd://{uid}-{}-{restarts}", container.name),
            "ready": ready == "True",
            "started": ready == "True",
            "restartCount": restarts,
            "state": state,
        })
    };
    let containers = containers.zip(restarts).map(container);
    json!({
        "metadata": {"uid": uid},
        "status": {
            "phase": phase,
            "startTime": pod.creation_timestamp(),
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": READY.iter().map(condition).collect::<Vec<_>>(),
            "containerStatuses": containers.collect::<Vec<_>>(),
        },
    })
}

fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}
