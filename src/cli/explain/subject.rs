//! Parses the object to explain, as typed on the command line. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::api::{ObjectKey, ObjectKind};
use crate::findings::FindingReason;
use crate::model::Model;
use crate::state::view::View;
use crate::text::humanize::plain;

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

/// Number of locks to name if several are meant.
const MAX_CANDIDATES: usize = 10;

impl Subject {
    /// With the whole key, if it names a lock by a part of its key. Of several, the one that begins with the part is meant.
    /// Returns an error with the candidates if it is ambiguous.
    pub fn resolved(self, view: &View) -> Result<Self, String> {
        let Self::Lock(part) = self else {
            return Ok(self);
        };
        let locks = view.stuck().filter_map(|finding| match &finding.what {
            FindingReason::OperationLock(key) => Some(&*key.0),
            _ => None,
        });
        let keys: BTreeSet<&str> = locks.filter(|key| key.contains(&part)).collect();
        let begun = || keys.iter().filter(|key| key.starts_with(&part));
        let key = match (begun().next(), begun().nth(1)) {
            _ if keys.contains(&*part) => Some(part.as_str()),
            (Some(only), None) => Some(*only),
            _ if keys.len() == 1 => keys.first().copied(),
            _ => None,
        };
        if let Some(key) = key {
            return Ok(Self::Lock(key.to_owned()));
        }
        if keys.is_empty() {
            return Ok(Self::Lock(part));
        }
        let more = match keys.len().saturating_sub(MAX_CANDIDATES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<_> = keys.into_iter().take(MAX_CANDIDATES).map(plain).collect();
        let named = named.join(", ");
        Err(format!(
            "several locks contain {part}; choose one of {named}{more}"
        ))
    }

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
