//! Workloads: Deployments and other kinds that run pods.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, condition, labels, or, text};
use crate::json::{Json as _, Meta as _};
use crate::selector::printed;
use crate::table::time::human;

/// The columns of Deployments.
pub fn deployment() -> Vec<Column> {
    let ready = |o: &Value, _: Timestamp| {
        let count = |pointer: &str| o.integer(pointer).unwrap_or(0);
        format!(
            "{}/{}",
            count("/status/readyReplicas"),
            count("/spec/replicas")
        )
        .into()
    };
    with_template(vec![
        Column::name(),
        text("Ready", ready),
        count("Up-to-date", |o, _| number(o, "/status/updatedReplicas")),
        count("Available", |o, _| number(o, "/status/availableReplicas")),
        Column::age(),
    ])
}

/// The columns of ReplicaSets.
pub fn replica_set() -> Vec<Column> {
    with_template(vec![
        Column::name(),
        count("Desired", |o, _| number(o, "/spec/replicas")),
        count("Current", |o, _| number(o, "/status/replicas")),
        count("Ready", |o, _| number(o, "/status/readyReplicas")),
        Column::age(),
    ])
}

/// The columns of StatefulSets.
pub fn stateful_set() -> Vec<Column> {
    let mut columns = deployment();
    columns.retain(|c| !matches!(c.name.as_str(), "Up-to-date" | "Available" | "Selector"));
    columns
}

/// The columns of DaemonSets.
pub fn daemon_set() -> Vec<Column> {
    with_template(vec![
        Column::name(),
        count("Desired", |o, _| {
            number(o, "/status/desiredNumberScheduled")
        }),
        count("Current", |o, _| {
            number(o, "/status/currentNumberScheduled")
        }),
        count("Ready", |o, _| number(o, "/status/numberReady")),
        count("Up-to-date", |o, _| {
            number(o, "/status/updatedNumberScheduled")
        }),
        count("Available", |o, _| number(o, "/status/numberAvailable")),
        text("Node Selector", |o, _| {
            labels(o, "/spec/template/spec/nodeSelector")
        }),
        Column::age(),
    ])
}

/// The columns of Jobs.
pub fn job() -> Vec<Column> {
    let completions = |o: &Value, _: Timestamp| {
        let count = |pointer: &str, absent| o.integer(pointer).unwrap_or(absent);
        format!(
            "{}/{}",
            count("/status/succeeded", 0),
            count("/spec/completions", 1)
        )
        .into()
    };
    with_template(vec![
        Column::name(),
        text("Status", job_status),
        text("Completions", completions),
        text("Duration", job_duration),
        Column::age(),
    ])
}

fn job_status(job: &Value, _: Timestamp) -> Value {
    let known = ["Complete", "Failed"]
        .into_iter()
        .find(|c| condition(job, c));
    let status = match known {
        Some(status) => status,
        None if job.deleting() => "Terminating",
        None if condition(job, "Suspended") => "Suspended",
        None => "Running",
    };
    status.into()
}

fn job_duration(job: &Value, now: Timestamp) -> Value {
    let time = |pointer: &str| job.text(pointer).parse::<Timestamp>().ok();
    let Some(start) = time("/status/startTime") else {
        return "".into();
    };
    let end = time("/status/completionTime").unwrap_or(now);
    human(end.as_second() - start.as_second()).into()
}

fn count(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, "integer", cell)
}

fn number(object: &Value, pointer: &str) -> Value {
    object.integer(pointer).unwrap_or(0).into()
}

/// Adds the columns of a pod template, shown with `-o wide`.
fn with_template(mut columns: Vec<Column>) -> Vec<Column> {
    columns.extend([
        text("Containers", |o, _| of_containers(o, "/name")).wide(),
        text("Images", |o, _| of_containers(o, "/image")).wide(),
        text("Selector", |o, _| {
            let selector = o.pointer("/spec/selector").map(printed);
            or(&selector.unwrap_or_default(), "<none>")
        })
        .wide(),
    ]);
    columns
}

fn of_containers(object: &Value, field: &str) -> Value {
    let containers = object.items("/spec/template/spec/containers");
    let values: Vec<_> = containers.iter().map(|c| c.text(field)).collect();
    values.join(",").into()
}
