//! Claims, volumes, classes and drivers.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, or, text};
use crate::json::{Json as _, Meta as _};

/// The columns of PersistentVolumeClaims.
pub fn claim() -> Vec<Column> {
    vec![
        Column::name(),
        text("Status", phase),
        Column::field("Volume", ".spec.volumeName"),
        text("Capacity", |o, _| {
            bound(o, o.text("/status/capacity/storage"))
        }),
        text("Access Modes", |o, _| {
            bound(o, &modes(o.items("/status/accessModes")))
        }),
        Column::field("StorageClass", ".spec.storageClassName"),
        text("VolumeAttributesClass", attributes),
        Column::age(),
        text("VolumeMode", |o, _| {
            or(o.text("/spec/volumeMode"), "<unset>")
        })
        .wide(),
    ]
}

/// The columns of PersistentVolumes.
pub fn volume() -> Vec<Column> {
    vec![
        Column::name(),
        Column::field("Capacity", ".spec.capacity.storage"),
        text("Access Modes", |o, _| {
            modes(o.items("/spec/accessModes")).into()
        }),
        Column::path(
            "Reclaim Policy",
            "string",
            ".spec.persistentVolumeReclaimPolicy",
        ),
        text("Status", phase),
        text("Claim", owner),
        Column::field("StorageClass", ".spec.storageClassName"),
        text("VolumeAttributesClass", attributes),
        Column::field("Reason", ".status.reason"),
        Column::age(),
        text("VolumeMode", |o, _| {
            or(o.text("/spec/volumeMode"), "<unset>")
        })
        .wide(),
    ]
}

/// The columns of StorageClasses.
pub fn storage_class() -> Vec<Column> {
    let name = |class: &Value, _: Timestamp| {
        let default = class
            .pointer("/metadata/annotations/storageclass.kubernetes.io~1is-default-class")
            .is_some_and(|v| v == "true");
        let mark = if default { " (default)" } else { "" };
        Value::from(format!("{}{mark}", class.name()))
    };
    vec![
        text("Name", name),
        Column::field("Provisioner", ".provisioner"),
        Column::field("ReclaimPolicy", ".reclaimPolicy"),
        Column::field("VolumeBindingMode", ".volumeBindingMode"),
        text("AllowVolumeExpansion", |o, _| {
            o.truth("/allowVolumeExpansion").into()
        }),
        Column::age(),
    ]
}

/// The columns of CSIDrivers.
pub fn csi_driver() -> Vec<Column> {
    vec![
        Column::name(),
        text("AttachRequired", |o, _| {
            (o.pointer("/spec/attachRequired") != Some(&Value::Bool(false))).into()
        }),
        text("PodInfoOnMount", |o, _| {
            o.truth("/spec/podInfoOnMount").into()
        }),
        text("StorageCapacity", |o, _| {
            o.truth("/spec/storageCapacity").into()
        }),
        Column::age(),
    ]
}

fn phase(object: &Value, _: Timestamp) -> Value {
    if object.deleting() {
        return "Terminating".into();
    }
    object.text("/status/phase").into()
}

/// A text that is shown only for a bound claim.
fn bound(claim: &Value, text: &str) -> Value {
    if claim.text("/spec/volumeName").is_empty() {
        return "".into();
    }
    text.into()
}

fn attributes(object: &Value, _: Timestamp) -> Value {
    or(object.text("/spec/volumeAttributesClassName"), "<unset>")
}

fn owner(volume: &Value, _: Timestamp) -> Value {
    match volume.text("/spec/claimRef/name") {
        "" => "".into(),
        name => format!("{}/{name}", volume.text("/spec/claimRef/namespace")).into(),
    }
}

fn modes(modes: &[Value]) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    modes.iter().map(short).collect::<Vec<_>>().join(",")
}
