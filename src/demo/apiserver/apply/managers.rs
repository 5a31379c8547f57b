//! Reads and writes `metadata.managedFields`: who wrote which fields, by which operation.
//!
//! Upstream: `apimachinery/pkg/util/managedfields/internal/managedfields.go`.

use serde_json::{Value, json};

use super::super::json::Json as _;
use super::fields::{FieldSet, field};

/// Kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply: fields that are no longer applied are released.
    Apply,
    /// Any other write: written fields remain.
    Update,
}

/// A writer.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Name of the field manager.
    pub name: String,
    /// Kind of write.
    pub operation: Operation,
    /// The `apiVersion` of the written object.
    pub api_version: String,
    /// `status`, or empty.
    pub subresource: String,
}

/// A field manager with its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Manager {
    /// The writer.
    pub identity: Identity,
    /// Time at which the set last changed.
    pub time: String,
    /// Owned fields.
    pub fields: FieldSet,
}

impl Identity {
    /// Whether both are the same writer; an applier remains the same in another version.
    pub fn is(&self, other: &Self) -> bool {
        let key = |i: &Self| (i.name.clone(), i.operation, i.subresource.clone());
        key(self) == key(other)
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The writer as shown in conflicts.
    pub fn printed(&self) -> String {
        let through = match self.subresource.as_str() {
            "" => String::new(),
            part => format!(" with subresource {part:?}"),
        };
        let using = match self.operation {
            Operation::Apply => String::new(),
            Operation::Update => format!(" using {}", self.api_version),
        };
        format!("{:?}{through}{using}", self.name)
    }
}

/// Fields without owner: identity and bookkeeping.
pub fn unowned() -> FieldSet {
    let mut set = FieldSet::default();
    for top in ["apiVersion", "kind", "metadata"] {
        set.insert(&[field(top)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&[field("metadata"), field(name)]);
    }
    set
}

/// The managers recorded on an object; unreadable entries are dropped.
pub fn read(object: &Value) -> Vec<Manager> {
    object
        .items("/metadata/managedFields")
        .iter()
        .filter_map(|entry| {
            let operation = match entry.text("/operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            Some(Manager {
                identity: Identity {
                    name: entry.text("/manager").to_owned(),
                    operation,
                    api_version: entry.text("/apiVersion").to_owned(),
                    subresource: entry.text("/subresource").to_owned(),
                },
                time: entry.text("/time").to_owned(),
                fields: FieldSet::from_json(entry.get("fieldsV1")?),
            })
        })
        .collect()
}

/// Records the managers on an object, sorted by operation and time.
pub fn write(object: &mut Value, mut managers: Vec<Manager>) {
    managers.retain(|m| !m.fields.is_empty());
    managers.sort_by_key(|m| {
        (
            m.identity.operation,
            m.time.clone(),
            m.identity.name.clone(),
        )
    });
    if managers.is_empty() {
        object.cut("/metadata/managedFields");
        return;
    }
    let entries: Vec<_> = managers.iter().map(entry).collect();
    object.put("/metadata/managedFields", entries);
}

fn entry(manager: &Manager) -> Value {
    let identity = &manager.identity;
    let mut entry = json!({
        "manager": identity.name,
        "operation": match identity.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        },
        "apiVersion": identity.api_version,
        "time": manager.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": manager.fields.to_json(),
    });
    if !identity.subresource.is_empty() {
        entry["subresource"] = identity.subresource.as_str().into();
    }
    entry
}
