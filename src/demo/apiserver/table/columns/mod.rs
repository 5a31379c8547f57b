//! The columns of the built-in kinds.
//!
//! Upstream: `pkg/printers/internalversion/printers.go` of Kubernetes.

mod cluster;
mod pod;
mod storage;
mod workloads;

use jiff::Timestamp;
use serde_json::Value;

pub use cluster::{binding, config_map, created, event, lease, namespace, node, secret, service};
pub use pod::pod;
pub use storage::{claim, csi_driver, storage_class, volume};
pub use workloads::{daemon_set, deployment, job, replica_set, stateful_set};

use super::Column;
use crate::json::Json as _;

/// A text column with a computed text.
fn text(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Column {
    Column::computed(name, "string", cell)
}

/// `text`, or `absent` if it is empty.
fn or(text: &str, absent: &str) -> Value {
    if text.is_empty() { absent } else { text }.into()
}

/// `a=b,c=d`, or `<none>`.
fn labels(object: &Value, pointer: &str) -> Value {
    let labels: Vec<_> = object
        .entries(pointer)
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    or(&labels.join(","), "<none>")
}

/// Whether a condition of that type is true.
fn condition(object: &Value, kind: &str) -> bool {
    object
        .items("/status/conditions")
        .iter()
        .any(|c| c.text("/type") == kind && c.text("/status") == "True")
}
