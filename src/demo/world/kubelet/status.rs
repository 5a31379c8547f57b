//! Status patches of a Pod, as written by a scheduler or kubelet.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Conditions of a Pod whose containers are ready.
const READY: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// Whether the containers have been started.
pub(super) fn is_running(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some("Running")
}

/// The scheduler's latest message, if it could not place `pod`.
pub(super) fn unschedulable_message(pod: &Pod) -> Option<&String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled")?;
    scheduled.message.as_ref()
}

/// The Pod cannot be placed, for the reason `message`.
pub(super) fn unschedulable(pod: &Pod, message: &str) -> Value {
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": Time(Timestamp::now()),
        }]},
    })
}

/// Every container runs and is ready.
pub(super) fn running(pod: &Pod) -> Value {
    let now = Time(Timestamp::now());
    let uid = pod.uid().unwrap_or_default();
    let conditions: Vec<_> = READY
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}))
        .collect();
    let containers: Vec<_> = pod.spec.iter().flat_map(|spec| &spec.containers).collect();
    let containers: Vec<_> = containers
        .into_iter()
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image,
                "imageID": container.image,
                "containerID": format!("containerd://{uid}-{}", container.name),
                "ready": true,
                "started": true,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            })
        })
        .collect();
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {
            "phase": "Running",
            "startTime": now,
            "hostIP": "127.0.0.1",
            "conditions": conditions,
            "containerStatuses": containers,
        },
    })
}

/// Every container has terminated: the last status that a kubelet writes before the Pod is removed.
pub(super) fn ended(pod: &Pod) -> Value {
    let now = Time(Timestamp::now());
    let containers: Vec<_> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image,
                "imageID": container.image,
                "ready": false,
                "started": false,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now}},
            })
        })
        .collect();
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {"phase": "Succeeded", "containerStatuses": containers},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]},
        }))
        .unwrap()
    }

    fn patched(status: &Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": []}, "status": status["status"]}))
            .unwrap()
    }

    #[test]
    fn running_pod_has_all_containers_ready() {
        let pod = patched(&running(&pod()));
        assert!(is_running(&pod));
        let status = pod.status.unwrap();
        let ready: Vec<_> = status
            .container_statuses
            .iter()
            .flatten()
            .map(|c| (c.name.as_str(), c.ready))
            .collect();
        assert_eq!(ready, [("a", true), ("b", true)]);
        assert!(
            status
                .conditions
                .unwrap()
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        );
    }

    #[test]
    fn unschedulable_message_round_trips() {
        let pod = patched(&unschedulable(&pod(), "no claim"));
        assert!(!is_running(&pod));
        assert_eq!(
            unschedulable_message(&pod).map(String::as_str),
            Some("no claim")
        );
    }
}
