//! The data source of a claim and its CSI handle (`getSnapshotSource` of external-provisioner).

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;

use super::outcome::{Failure, SourceProblem};
use crate::actor::Actor;
use locksmith_api::snapshot::{self, VolumeSnapshot, VolumeSnapshotContent};

/// The data source of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nothing: an empty volume.
    Empty,
    /// The VolumeSnapshot of this name in the claim's namespace.
    Snapshot(String),
    /// A kind that a volume populator handles.
    Populator,
}

/// The data source that `claim` requests.
pub(super) fn source(claim: &PersistentVolumeClaim) -> Source {
    let Some(spec) = &claim.spec else {
        return Source::Empty;
    };
    // The API server keeps both in sync for the kinds they share; only dataSourceRef can name another kind.
    let (group, kind, name) = match (&spec.data_source_ref, &spec.data_source) {
        (Some(reference), _) => (&reference.api_group, &reference.kind, &reference.name),
        (None, Some(reference)) => (&reference.api_group, &reference.kind, &reference.name),
        (None, None) => return Source::Empty,
    };
    if group.as_deref() == Some(snapshot::GROUP) && kind == "VolumeSnapshot" {
        Source::Snapshot(name.clone())
    } else {
        Source::Populator
    }
}

/// The handle of the VolumeSnapshot `name`, if a volume can be restored from it.
pub(super) async fn handle(actor: &Actor, namespace: &str, name: &str) -> Result<String, Failure> {
    let snapshots: Api<VolumeSnapshot> = actor.within(namespace);
    let snapshot = snapshots.get_opt(name).await?;
    let content = bound_content(name, snapshot.as_ref()).map_err(|reason| failure(name, reason))?;
    let contents: Api<VolumeSnapshotContent> = actor.all();
    let content = contents.get_opt(content).await?;
    let handle = content
        .and_then(|content| content.status)
        .and_then(|status| status.snapshot_handle);
    handle.ok_or_else(|| failure(name, SourceProblem::NoHandle(name.to_owned())))
}

fn bound_content<'a>(
    name: &str,
    snapshot: Option<&'a VolumeSnapshot>,
) -> Result<&'a str, SourceProblem> {
    let name = || name.to_owned();
    let snapshot = snapshot.ok_or_else(|| SourceProblem::Missing(name()))?;
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Err(SourceProblem::Deleted(name()));
    }
    let status = snapshot.status.as_ref();
    let content = status.and_then(|status| status.bound_volume_snapshot_content_name.as_deref());
    let content = content.ok_or_else(|| SourceProblem::NotBound(name()))?;
    if status.and_then(|status| status.ready_to_use) == Some(true) {
        Ok(content)
    } else {
        Err(SourceProblem::NotReady(name()))
    }
}

fn failure(name: &str, reason: SourceProblem) -> Failure {
    Failure::Source {
        name: name.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use locksmith_api::snapshot::VolumeSnapshotStatus;

    fn snapshot(bound: bool, ready: Option<bool>) -> VolumeSnapshot {
        let mut snapshot = VolumeSnapshot::new("a", snapshot::VolumeSnapshotSpec::default());
        let bound_volume_snapshot_content_name = bound.then(|| "snapcontent-1".to_owned());
        snapshot.status = Some(VolumeSnapshotStatus {
            bound_volume_snapshot_content_name,
            ready_to_use: ready,
            ..VolumeSnapshotStatus::default()
        });
        snapshot
    }

    #[test]
    fn snapshot_is_restorable_once_bound_and_ready() {
        assert_eq!(
            bound_content("a", None),
            Err(SourceProblem::Missing("a".into()))
        );
        assert_eq!(
            bound_content("a", Some(&snapshot(false, None))),
            Err(SourceProblem::NotBound("a".into()))
        );
        assert_eq!(
            bound_content("a", Some(&snapshot(true, None))),
            Err(SourceProblem::NotReady("a".into()))
        );
        assert_eq!(
            bound_content("a", Some(&snapshot(true, Some(false)))),
            Err(SourceProblem::NotReady("a".into()))
        );
        assert_eq!(
            bound_content("a", Some(&snapshot(true, Some(true)))),
            Ok("snapcontent-1")
        );
        let mut deleted = snapshot(true, Some(true));
        deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(
            bound_content("a", Some(&deleted)),
            Err(SourceProblem::Deleted("a".into()))
        );
    }

    #[test]
    fn other_data_sources_belong_to_a_populator() {
        let claim = |reference: serde_json::Value| {
            let spec = json!({"spec": {"dataSourceRef": reference}});
            serde_json::from_value::<PersistentVolumeClaim>(spec).unwrap()
        };
        let of_group =
            |group: &str, kind: &str| claim(json!({"apiGroup": group, "kind": kind, "name": "a"}));
        assert_eq!(source(&PersistentVolumeClaim::default()), Source::Empty);
        assert_eq!(
            source(&of_group("snapshot.storage.k8s.io", "VolumeSnapshot")),
            Source::Snapshot("a".into())
        );
        assert_eq!(
            source(&of_group("volsync.backube", "ReplicationDestination")),
            Source::Populator
        );
    }
}
