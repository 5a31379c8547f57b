//! Nodes, Namespaces, Events and other kinds.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, labels, or, text};
use crate::json::Json as _;
use crate::table::ago;

/// The columns of kinds that show only their creation time.
pub fn created() -> Vec<Column> {
    vec![
        Column::name(),
        Column::field("Created At", ".metadata.creationTimestamp"),
    ]
}

/// The columns of RoleBindings and ClusterRoleBindings.
pub fn binding() -> Vec<Column> {
    let role = |o: &Value, _: Timestamp| {
        format!("{}/{}", o.text("/roleRef/kind"), o.text("/roleRef/name")).into()
    };
    vec![Column::name(), text("Role", role), Column::age()]
}

/// The columns of ConfigMaps.
pub fn config_map() -> Vec<Column> {
    vec![
        Column::name(),
        text("Data", |o, _| {
            (o.entries("/data").count() + o.entries("/binaryData").count()).into()
        }),
        Column::age(),
    ]
}

/// The columns of Secrets.
pub fn secret() -> Vec<Column> {
    vec![
        Column::name(),
        Column::field("Type", ".type"),
        text("Data", |o, _| o.entries("/data").count().into()),
        Column::age(),
    ]
}

/// The columns of Namespaces.
pub fn namespace() -> Vec<Column> {
    vec![
        Column::name(),
        Column::field("Status", ".status.phase"),
        Column::age(),
    ]
}

/// The columns of Leases.
pub fn lease() -> Vec<Column> {
    vec![
        Column::name(),
        Column::field("Holder", ".spec.holderIdentity"),
        Column::age(),
    ]
}

/// The columns of Services.
pub fn service() -> Vec<Column> {
    let ports = |o: &Value, _: Timestamp| {
        let ports: Vec<_> = o
            .items("/spec/ports")
            .iter()
            .map(|p| {
                format!(
                    "{}/{}",
                    p.integer("/port").unwrap_or(0),
                    p.text("/protocol")
                )
            })
            .collect();
        or(&ports.join(","), "<none>")
    };
    vec![
        Column::name(),
        Column::field("Type", ".spec.type"),
        text("Cluster-IP", |o, _| or(o.text("/spec/clusterIP"), "<none>")),
        text("External-IP", |_, _| "<none>".into()),
        text("Port(s)", ports),
        Column::age(),
        text("Selector", |o, _| labels(o, "/spec/selector")).wide(),
    ]
}

/// The columns of Nodes.
pub fn node() -> Vec<Column> {
    vec![
        Column::name(),
        text("Status", node_status),
        text("Roles", node_roles),
        Column::age(),
        Column::field("Version", ".status.nodeInfo.kubeletVersion"),
        text("Internal-IP", |o, _| address(o, "InternalIP")).wide(),
        text("External-IP", |o, _| address(o, "ExternalIP")).wide(),
        Column::field("OS-Image", ".status.nodeInfo.osImage").wide(),
        Column::field("Kernel-Version", ".status.nodeInfo.kernelVersion").wide(),
        Column::field(
            "Container-Runtime",
            ".status.nodeInfo.containerRuntimeVersion",
        )
        .wide(),
    ]
}

fn node_status(node: &Value, _: Timestamp) -> Value {
    let ready = node
        .items("/status/conditions")
        .iter()
        .find(|c| c.text("/type") == "Ready");
    let status = match ready.map(|c| c.text("/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if node.truth("/spec/unschedulable") {
        return format!("{status},SchedulingDisabled").into();
    }
    status.into()
}

fn node_roles(node: &Value, _: Timestamp) -> Value {
    let roles: Vec<_> = node
        .entries("/metadata/labels")
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    or(&roles.join(","), "<none>")
}

fn address(node: &Value, kind: &str) -> Value {
    let found = node
        .items("/status/addresses")
        .iter()
        .find(|a| a.text("/type") == kind);
    or(found.map_or("", |a| a.text("/address")), "<none>")
}

/// The columns of Events in either group; both are stored in the core form.
pub fn event() -> Vec<Column> {
    vec![
        text("Last Seen", last_seen),
        Column::field("Type", ".type"),
        Column::field("Reason", ".reason"),
        text("Object", involved),
        Column::field("Subobject", ".involvedObject.fieldPath").wide(),
        text("Source", source).wide(),
        text("Message", |o, _| o.text("/message").trim().into()),
        text("First Seen", |o, now| ago(first(o), now).into()).wide(),
        text("Count", count).wide(),
        Column::name().wide(),
    ]
}

fn first(event: &Value) -> Option<&Value> {
    event
        .pointer("/firstTimestamp")
        .or_else(|| event.pointer("/eventTime"))
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    let last = event
        .pointer("/series/lastObservedTime")
        .or_else(|| event.pointer("/lastTimestamp"))
        .or_else(|| first(event));
    ago(last, now).into()
}

fn involved(event: &Value, _: Timestamp) -> Value {
    let kind = event.text("/involvedObject/kind").to_lowercase();
    match event.text("/involvedObject/name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

fn source(event: &Value, _: Timestamp) -> Value {
    let component = match event.text("/source/component") {
        "" => event.text("/reportingComponent"),
        component => component,
    };
    match event.text("/source/host") {
        "" => component.into(),
        host => format!("{component}, {host}").into(),
    }
}

fn count(event: &Value, _: Timestamp) -> Value {
    event
        .integer("/series/count")
        .or_else(|| event.integer("/count"))
        .unwrap_or(1)
        .into()
}
