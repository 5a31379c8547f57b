//! SnapshotHolds.

use super::{meta, some_shared};
use crate::api::hold::SnapshotHold as Object;
use crate::api::remediation::GROUP;
use crate::api::{ObjectKind, Uid};
use crate::holds::parse_place;
use crate::model::records::{RunRef, SnapshotHold};

/// Converts a SnapshotHold. Its run is the Remediation that owns it. A hold that names a run but has lost its owner, as
/// after `kubectl delete --cascade=orphan`, gets a run without uid, which matches none. A hold with neither is a planned
/// hold.
pub fn hold(object: &Object) -> Option<SnapshotHold> {
    let meta = meta(&object.metadata)?;
    let spec = &object.spec;
    let owners = object.metadata.owner_references.iter().flatten();
    let run = owners
        .filter(|owner| {
            owner.kind == ObjectKind::Remediation.as_str() && owner.api_version.starts_with(GROUP)
        })
        .map(|owner| RunRef {
            namespace: meta.namespace.clone(),
            name: owner.name.as_str().into(),
            uid: Uid::from(&*owner.uid),
        })
        .next()
        .or_else(|| {
            Some(RunRef {
                namespace: meta.namespace.clone(),
                name: spec.remediation.as_deref()?.into(),
                uid: Uid::default(),
            })
        });
    let sources = spec.sources.iter();
    Some(SnapshotHold {
        run,
        held_by: some_shared(spec.held_by.as_ref()),
        reason: some_shared(spec.reason.as_ref()),
        until: spec.until,
        sources: sources
            .filter_map(|(uid, place)| Some((uid.clone(), parse_place(place)?)))
            .collect(),
        snapshot_classes: spec
            .snapshot_classes
            .iter()
            .map(|class| class.as_str().into())
            .collect(),
        meta,
    })
}
