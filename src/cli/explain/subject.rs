//! Parses the object to explain, as typed on the command line. Pure.

use std::str::FromStr;

use crate::api::{ObjectKey, ObjectKind};
use crate::model::Model;

/// An object by kind and name, or a lock by its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// A PersistentVolumeClaim, VolumeSnapshot or ReplicationSource.
    Object(ObjectKind, String),
    /// The key of an operation lock.
    Lock(String),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, name)) = text.split_once('/').filter(|(_, name)| !name.is_empty()) else {
            return Err("expected KIND/NAME, such as pvc/prowlarr".to_owned());
        };
        // kubectl prints the API group behind the kind.
        let kind = kind.split('.').next().unwrap_or(kind);
        let kind = match kind.to_ascii_lowercase().as_str() {
            "pvc" | "persistentvolumeclaim" | "persistentvolumeclaims" => {
                ObjectKind::PersistentVolumeClaim
            }
            "vs" | "volumesnapshot" | "volumesnapshots" => ObjectKind::VolumeSnapshot,
            "source" | "replicationsource" | "replicationsources" => ObjectKind::ReplicationSource,
            "lock" => return Ok(Self::Lock(name.to_owned())),
            other => {
                return Err(format!(
                    "unknown kind {other}; use one of pvc, vs, source, lock"
                ));
            }
        };
        Ok(Self::Object(kind, name.to_owned()))
    }
}

impl Subject {
    /// The object's identity; `None` if no object of that kind and name exists.
    pub fn find(&self, model: &Model, namespace: &str) -> Option<ObjectKey> {
        let Self::Object(kind, name) = self else {
            return None;
        };
        let (namespace, name) = (namespace.into(), name.as_str().into());
        let meta = match kind {
            ObjectKind::PersistentVolumeClaim => &model.claims.get(&namespace, &name)?.meta,
            ObjectKind::VolumeSnapshot => &model.snapshots.get(&namespace, &name)?.meta,
            ObjectKind::ReplicationSource => &model.sources.get(&namespace, &name)?.meta,
            _ => return None,
        };
        Some(meta.key(*kind))
    }

    /// The object for an error message.
    pub fn in_namespace(&self, namespace: &str) -> String {
        match self {
            Self::Object(kind, name) => {
                format!("{} {name} in namespace {namespace}", kind.as_str())
            }
            Self::Lock(key) => format!("lock {key} that anything waits for"),
        }
    }
}
