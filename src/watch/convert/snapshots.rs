//! Snapshots, their contents and classes.

use std::num::NonZeroU64;

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{annotation, bytes, controller, cut, has, meta, shared, some_shared};
use crate::api::TOUCHED_ANNOTATION;
use crate::api::Uid;
use crate::api::snapshot::{
    BEING_CREATED, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent, VolumeSnapshotError,
};
use crate::api::volsync;
use crate::csi::LockPatterns;
use crate::model::UnixSeconds;
use crate::model::records::{Content, Protection, Snapshot, SnapshotClass, StatusError};
use crate::watch::Patterns;

/// Converts a VolumeSnapshot.
pub fn snapshot(object: &VolumeSnapshot, patterns: &Patterns) -> Option<Snapshot> {
    let meta = meta(&object.metadata)?;
    let labels = object.metadata.labels.as_ref();
    let status = object.status.as_ref();
    let populating = labels.is_some_and(|labels| {
        labels
            .keys()
            .any(|key| key.starts_with(volsync::POPULATOR_LABEL_PREFIX))
    });
    let protection = if has(labels, volsync::DO_NOT_DELETE_LABEL) {
        Some(Protection::DoNotDelete)
    } else if populating {
        Some(Protection::Populating)
    } else if status.is_some_and(|status| status.volume_group_snapshot_name.is_some()) {
        Some(Protection::Group)
    } else if object.finalizers().iter().any(|it| is_foreign(it)) {
        Some(Protection::Finalizer)
    } else {
        None
    };
    let source = controller(&object.metadata).filter(|owner| {
        owner.kind == "ReplicationSource" && owner.api_version.starts_with(volsync::GROUP)
    });
    let by_volsync = labels.and_then(|labels| labels.get(volsync::CREATED_BY_LABEL));
    Some(Snapshot {
        source_claim: some_shared(object.spec.source.persistent_volume_claim_name.as_ref()),
        class: some_shared(object.spec.volume_snapshot_class_name.as_ref()),
        ready: status.and_then(|status| status.ready_to_use),
        content: status
            .and_then(|s| some_shared(s.bound_volume_snapshot_content_name.as_ref()))
            .filter(|name| **name != *Snapshot::given_content(&meta.uid)),
        restore_size: status
            .and_then(|s| s.restore_size.as_ref())
            .and_then(|size| NonZeroU64::new(bytes(Some(size)))),
        error: status_error(
            status.and_then(|s| s.error.as_ref()),
            &meta,
            patterns.of(None),
        ),
        source: source.map(|owner| Uid::from(&*owner.uid)),
        by_volsync: by_volsync.is_some_and(|by| by == volsync::CREATED_BY_VOLSYNC),
        protection,
        meta,
    })
}

/// Whether a finalizer belongs to neither the snapshot controller, the provisioner nor Kubernetes, so that none of them
/// removes it.
fn is_foreign(finalizer: &str) -> bool {
    const KNOWN: [&str; 2] = [
        "snapshot.storage.kubernetes.io/",
        "provisioner.storage.kubernetes.io/",
    ];
    finalizer.contains('/') && !KNOWN.iter().any(|group| finalizer.starts_with(group))
}

/// Converts a VolumeSnapshotContent.
pub fn content(object: &VolumeSnapshotContent, patterns: &Patterns) -> Option<Content> {
    let meta = meta(&object.metadata)?;
    let status = object.status.as_ref();
    let spec = &object.spec;
    Some(Content {
        driver: shared(&spec.driver),
        snapshot: spec.volume_snapshot_ref.uid.as_deref().map(Uid::from),
        deletes: spec.deletion_policy == "Delete",
        volume_handle: some_shared(spec.source.volume_handle.as_ref()),
        handle: status.and_then(|status| some_shared(status.snapshot_handle.as_ref())),
        taken: status
            .and_then(|status| Timestamp::from_nanosecond(status.creation_time?.into()).ok())
            .map(UnixSeconds::from),
        touched_by: some_shared(annotation(&object.metadata, TOUCHED_ANNOTATION)),
        seen_by_sidecar: status.is_some(),
        being_created: has(object.metadata.annotations.as_ref(), BEING_CREATED),
        error: status_error(
            status.and_then(|status| status.error.as_ref()),
            &meta,
            patterns.of(Some(&spec.driver)),
        ),
        meta,
    })
}

/// Converts a VolumeSnapshotClass.
pub fn snapshot_class(object: &VolumeSnapshotClass) -> Option<SnapshotClass> {
    Some(SnapshotClass {
        name: shared(object.metadata.name.as_deref()?),
        driver: shared(&object.spec.driver),
    })
}

/// The error in a status. Without a time, it is dated to the creation of the object.
fn status_error(
    error: Option<&VolumeSnapshotError>,
    meta: &crate::model::records::Meta,
    patterns: &LockPatterns,
) -> Option<Box<StatusError>> {
    let error = error?;
    let message = error.message.as_deref().unwrap_or_default();
    Some(Box::new(StatusError {
        since: error.time.as_ref().map_or(meta.created.at(), |time| time.0),
        class: patterns.classify(message),
        message: cut(message),
    }))
}
