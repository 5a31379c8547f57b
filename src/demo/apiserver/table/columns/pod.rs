//! The row of a pod, with a status computed from phase, containers and deletion.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, condition, or, text};
use crate::json::{Json as _, Meta as _};
use crate::table::ago;

/// The columns of pods.
pub fn pod() -> Vec<Column> {
    vec![
        Column::name(),
        text("Ready", ready),
        text("Status", |pod, _| status(pod).into()),
        text("Restarts", restarts),
        Column::age(),
        text("IP", |o, _| or(o.text("/status/podIP"), "<none>")).wide(),
        text("Node", |o, _| or(o.text("/spec/nodeName"), "<none>")).wide(),
        text("Nominated Node", |o, _| {
            or(o.text("/status/nominatedNodeName"), "<none>")
        })
        .wide(),
        text("Readiness Gates", gates).wide(),
    ]
}

fn ready(pod: &Value, _: Timestamp) -> Value {
    let running = |c: &&Value| c.truth("/ready") && c.pointer("/state/running").is_some();
    let ready = pod
        .items("/status/containerStatuses")
        .iter()
        .filter(running);
    format!("{}/{}", ready.count(), pod.items("/spec/containers").len()).into()
}

fn restarts(pod: &Value, now: Timestamp) -> Value {
    let statuses = pod.items("/status/containerStatuses");
    let count: i64 = statuses
        .iter()
        .filter_map(|c| c.integer("/restartCount"))
        .sum();
    let last = statuses
        .iter()
        .filter_map(|c| c.pointer("/lastState/terminated/finishedAt"))
        .max_by_key(|time| time.as_str());
    match last {
        Some(_) if count > 0 => format!("{count} ({} ago)", ago(last, now)).into(),
        _ => count.to_string().into(),
    }
}

fn status(pod: &Value) -> String {
    let phase = pod.text("/status/phase");
    if pod.deleting() && !matches!(phase, "Succeeded" | "Failed") {
        return "Terminating".to_owned();
    }
    initializing(pod)
        .or_else(|| containers(pod))
        .unwrap_or_else(|| match pod.text("/status/reason") {
            "" => phase.to_owned(),
            reason => reason.to_owned(),
        })
}

/// Status of the first unfinished init container, if the pod is still initializing.
fn initializing(pod: &Value) -> Option<String> {
    if condition(pod, "Initialized") {
        return None;
    }
    let statuses = pod.items("/status/initContainerStatuses");
    let done = |c: &Value| c.integer("/state/terminated/exitCode") == Some(0);
    let (index, current) = statuses.iter().enumerate().find(|(_, c)| !done(c))?;
    let waiting = current.text("/state/waiting/reason");
    Some(match terminated(current) {
        Some(reason) => format!("Init:{reason}"),
        None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
        None => format!("Init:{index}/{}", pod.items("/spec/initContainers").len()),
    })
}

/// Reason of the first container that does not run.
fn containers(pod: &Value) -> Option<String> {
    let statuses = pod.items("/status/containerStatuses");
    let reason = statuses
        .iter()
        .find_map(|c| match c.text("/state/waiting/reason") {
            "" => terminated(c),
            waiting => Some(waiting.to_owned()),
        })?;
    let running = statuses
        .iter()
        .any(|c| c.truth("/ready") && c.pointer("/state/running").is_some());
    match (reason.as_str(), running) {
        ("Completed", true) if condition(pod, "Ready") => Some("Running".to_owned()),
        ("Completed", true) => Some("NotReady".to_owned()),
        _ => Some(reason),
    }
}

fn terminated(container: &Value) -> Option<String> {
    let state = container.pointer("/state/terminated")?;
    Some(match (state.text("/reason"), state.integer("/signal")) {
        ("", Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        ("", _) => format!("ExitCode:{}", state.integer("/exitCode").unwrap_or(0)),
        (reason, _) => reason.to_owned(),
    })
}

fn gates(pod: &Value, _: Timestamp) -> Value {
    let gates = pod.items("/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates
        .iter()
        .filter(|g| condition(pod, g.text("/conditionType")));
    format!("{}/{}", open.count(), gates.len()).into()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"status": {"phase": "Pending"}}), "Pending")]
    #[case(json!({"status": {"phase": "Failed", "reason": "Evicted"}}), "Evicted")]
    #[case(
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}),
        "Terminating"
    )]
    #[case(
        json!({"status": {"phase": "Running", "containerStatuses": [
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ]}}),
        "CrashLoopBackOff"
    )]
    #[case(
        json!({"spec": {"initContainers": [{}, {}]}, "status": {"phase": "Pending", "initContainerStatuses": [
            {"state": {"terminated": {"exitCode": 0}}},
            {"state": {"running": {}}},
        ]}}),
        "Init:1/2"
    )]
    #[case(
        json!({"status": {"phase": "Succeeded", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        ]}}),
        "Completed"
    )]
    fn pod_status_is_one_word(#[case] pod: Value, #[case] expected: &str) {
        assert_eq!(status(&pod), expected);
    }
}
