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
        taken: taken(object),
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

/// Time at which the driver took the snapshot, or at which its sidecar wrote the status, if that is later. The sidecar also writes
/// errors of later calls, such as of the deletion, which create nothing.
fn taken(object: &VolumeSnapshotContent) -> Option<UnixSeconds> {
    let status = object.status.as_ref()?;
    let taken = Timestamp::from_nanosecond(status.creation_time?.into()).ok()?;
    let managed = object.metadata.managed_fields.iter().flatten();
    let of_status = managed.filter(|entry| entry.subresource.as_deref() == Some("status"));
    let written = of_status.filter_map(|entry| Some(entry.time.as_ref()?.0));
    let written = written.max().filter(|_| status.error.is_none());
    Some(written.map_or(taken, |at| at.max(taken)).into())
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    fn written(subresource: &str, at: &str) -> Value {
        json!({"manager": "csi-snapshotter", "operation": "Update", "subresource": subresource, "time": at})
    }

    /// The storage took the snapshot at 02:00; flattening it may take minutes more.
    #[rstest]
    #[case::no_managed_fields(json!(null), json!(null), "2026-11-01T02:00:00Z")]
    #[case::written_later(
        json!([written("status", "2026-11-01T02:05:00Z")]), json!(null), "2026-11-01T02:05:00Z"
    )]
    #[case::clock_of_the_storage_is_ahead(
        json!([written("status", "2026-11-01T01:55:00Z")]), json!(null), "2026-11-01T02:00:00Z"
    )]
    #[case::annotated_later(
        json!([written("", "2026-11-01T03:00:00Z")]), json!(null), "2026-11-01T02:00:00Z"
    )]
    #[case::error_of_its_deletion(
        json!([written("status", "2026-11-01T03:00:00Z")]), json!({"message": "refused"}), "2026-11-01T02:00:00Z"
    )]
    fn snapshot_is_taken_once_its_sidecar_has_written_it(
        #[case] managed_fields: Value,
        #[case] error: Value,
        #[case] expected: Timestamp,
    ) {
        let at: Timestamp = "2026-11-01T02:00:00Z".parse().unwrap();
        let object = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshotContent",
            "metadata": {
                "name": "snapcontent-1", "uid": "u", "creationTimestamp": "2026-11-01T01:59:00Z", "managedFields": managed_fields,
            },
            "spec": {
                "driver": "rook-ceph.rbd.csi.ceph.com", "deletionPolicy": "Delete", "source": {"volumeHandle": "v"},
                "volumeSnapshotRef": {"namespace": "media", "name": "s", "uid": "s"},
            },
            "status": {"snapshotHandle": "h", "creationTime": i64::try_from(at.as_nanosecond()).unwrap(), "readyToUse": true, "error": error},
        });
        let object: VolumeSnapshotContent = serde_json::from_value(object).unwrap();
        let patterns = Patterns::new(&Config::default()).unwrap();
        let taken = content(&object, &patterns).unwrap().taken.unwrap();
        assert_eq!(taken.at(), expected);
    }
}
