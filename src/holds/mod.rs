//! Holds: the sources whose snapshots the API server refuses, their holders, and when each is released. Pure.
//!
//! A hold is one SnapshotHold object, enforced by the API server with the policy that [`policy`] describes. Nothing is
//! written to a ReplicationSource or a PersistentVolumeClaim, and a hold has no other state: deleting the object, its
//! Remediation or its CRD releases everything, and so does its deadline, even without any running locksmith.

pub mod policy;
mod release;

pub use release::{Due, Release, ReleasePolicy, due, releases};

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::hold::{POLICY_NAME, SnapshotHold as Object, SnapshotHoldSpec};
use crate::api::remediation::{GROUP, Remediation};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::model::records::{Claim, RunRef, SnapshotHold};
use crate::model::{Kind, Model};

/// A uid that no object has: during a hold, a snapshot owned by it must be accepted.
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

impl RunRef {
    /// Reference to a Remediation.
    pub fn of(run: &Remediation) -> Self {
        Self {
            namespace: run.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: run.metadata.name.as_deref().unwrap_or_default().into(),
            uid: Uid::from(run.metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    /// The hold of this run, which has the same name. Without a uid, as it may not exist yet.
    pub fn hold(&self) -> ObjectKey {
        ObjectKey {
            kind: ObjectKind::SnapshotHold,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: Uid::default(),
        }
    }
}

impl SnapshotHold {
    /// Whether the hold has not passed its deadline at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        now < self.until && self.meta.deleting.is_none()
    }

    /// The object's full identity.
    pub fn key(&self) -> ObjectKey {
        self.meta.key(ObjectKind::SnapshotHold)
    }

    /// The run or person that ends it.
    pub fn holder(&self) -> &str {
        match (&self.run, &self.held_by) {
            (Some(run), _) => &run.name,
            (None, Some(person)) => person,
            (None, None) => &self.meta.name,
        }
    }
}

/// The SnapshotHold of `sources` for `run`. It is deleted with the Remediation.
pub fn object(hold: &ObjectKey, run: &RunRef, spec: SnapshotHoldSpec) -> Object {
    let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: ObjectKind::Remediation.as_str().to_owned(),
        name: run.name.to_string(),
        uid: run.uid.to_string(),
        ..Default::default()
    };
    let mut object = Object::new(&hold.name, spec);
    object.metadata.namespace = Some(hold.namespace.to_string());
    object.metadata.owner_references = Some(vec![owner]);
    object
}

/// A ReplicationSource in a hold.
#[derive(Clone, Debug)]
pub struct HeldSource<'m> {
    /// The source, as recorded in the hold.
    pub source: ObjectKey,
    /// The hold.
    pub hold: &'m SnapshotHold,
    /// The source's claim; `None` if the source or the claim does not exist.
    pub claim: Option<&'m Claim>,
    /// Whether the source still exists.
    pub exists: bool,
}

/// The holds that the API server enforces: those in the namespace that the binding names. While the binding cannot be read,
/// any hold may be enforced, so all are returned.
pub fn enforced(model: &Model) -> impl Iterator<Item = &SnapshotHold> {
    let binding = model
        .hold_bindings
        .get_cluster(&SharedStr::from(POLICY_NAME));
    let namespace = binding.map(|binding| &binding.namespace);
    let unknown = namespace.is_none() && !model.freshness.trusted(Kind::HoldBinding);
    let all = model.holds.iter();
    all.filter(move |hold| unknown || namespace == Some(&hold.meta.namespace))
}

/// The hold of `run`, if the API server enforces it at `now`.
pub fn of_run<'m>(model: &'m Model, run: &RunRef, now: Timestamp) -> Option<&'m SnapshotHold> {
    let hold = model.holds.get(&run.namespace, &run.name)?;
    (hold.run.as_ref() == Some(run) && hold.is_active(now)).then_some(hold)
}

/// The sources in `hold`, by namespace and name.
pub fn sources<'m>(model: &'m Model, hold: &'m SnapshotHold) -> Vec<HeldSource<'m>> {
    let mut all: Vec<_> = hold
        .sources
        .iter()
        .map(|(uid, (namespace, name))| {
            let source = model.sources.get(namespace, name);
            let source = source.filter(|source| source.meta.uid == *uid);
            let claim = source.and_then(|source| source.claim.as_ref());
            HeldSource {
                source: ObjectKey {
                    kind: ObjectKind::ReplicationSource,
                    namespace: namespace.clone(),
                    name: name.clone(),
                    uid: uid.clone(),
                },
                hold,
                claim: claim.and_then(|claim| model.claims.get(namespace, claim)),
                exists: source.is_some(),
            }
        })
        .collect();
    all.sort_by(|a, b| a.source.cmp(&b.source));
    all
}

/// Everything held at `now`, by namespace and name.
pub fn held(model: &Model, now: Timestamp) -> Vec<HeldSource<'_>> {
    let active = enforced(model).filter(|hold| hold.is_active(now));
    let mut held: Vec<_> = active.flat_map(|hold| sources(model, hold)).collect();
    held.sort_by(|a, b| a.source.cmp(&b.source));
    held
}

/// The deadline `after` from `now`, in whole seconds, the precision of the API server.
pub fn deadline(now: Timestamp, after: jiff::SignedDuration) -> Timestamp {
    let until = now.checked_add(after).unwrap_or(now);
    Timestamp::from_second(until.as_second()).unwrap_or(until)
}

/// Splits `namespace/name`.
pub fn parse_place(place: &str) -> Option<(SharedStr, SharedStr)> {
    let (namespace, name) = place.split_once('/')?;
    Some((namespace.into(), name.into()))
}

/// Key of a source in a hold: `namespace/name`.
pub fn place(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A change of the `spec` of a SnapshotHold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HoldChange {
    /// Sources to add: uid to `namespace/name`.
    pub add: BTreeMap<Uid, String>,
    /// Sources to release.
    pub remove: Vec<Uid>,
    /// Whether all of its VolumeSnapshotClasses are released.
    pub release_classes: bool,
}

/// The merge patch that applies `change` to exactly the version that was read.
pub fn patch(resource_version: Option<&str>, change: &HoldChange) -> serde_json::Value {
    let added = change
        .add
        .iter()
        .map(|(uid, place)| (uid.to_string(), serde_json::json!(place)));
    let removed = change
        .remove
        .iter()
        .map(|uid| (uid.to_string(), serde_json::Value::Null));
    let sources: serde_json::Map<_, _> = added.chain(removed).collect();
    let mut spec = serde_json::json!({ "sources": sources });
    if change.release_classes {
        spec["snapshotClasses"] = serde_json::Value::Null;
    }
    serde_json::json!({
        "metadata": { "resourceVersion": resource_version },
        "spec": spec,
    })
}
