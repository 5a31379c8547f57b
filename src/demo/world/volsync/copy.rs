//! Copies a claim: takes a snapshot, and restores a claim from it (`volumehandler/volumehandler.go`).

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::{VolSync, metadata};
use crate::events::Severity;
use crate::names::SELECTED_NODE;
use locksmith_api::snapshot::{self, VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use locksmith_api::volsync::{
    COPY_TRIGGER, LATEST_COPY_STATUS, LATEST_COPY_TRIGGER, MoverOptions, ReplicationSource,
    USE_COPY_TRIGGER, WAITING_FOR_TRIGGER,
};

/// Annotation with the time since which VolSync has been waiting for a copy trigger.
const WAITING_SINCE: &str = "volsync.backube/latest-copy-trigger-waiting-since";
/// Value of [`LATEST_COPY_STATUS`] once the copy is done.
const COMPLETED: &str = "Completed";

/// The snapshot `name` of `claim`, once it is usable; it is created if it is missing and permitted.
pub(super) async fn ensure_snapshot(
    volsync: &VolSync,
    source: &ReplicationSource,
    options: &MoverOptions,
    claim: &PersistentVolumeClaim,
    name: &str,
) -> Result<Option<VolumeSnapshot>, kube::Error> {
    let snapshots: Api<VolumeSnapshot> = volsync
        .actor
        .within(&source.namespace().unwrap_or_default());
    let snapshot = match snapshots.get_opt(name).await? {
        Some(snapshot) => snapshot,
        None if waits_for_trigger(claim) => {
            wait_for_trigger(volsync, source, claim).await?;
            return Ok(None);
        }
        None => {
            let mut wanted = VolumeSnapshot::new(name, spec_of(claim, options));
            wanted.metadata = metadata(source, name, true);
            let Some(created) = volsync.actor.create(&snapshots, &wanted).await? else {
                return Ok(None);
            };
            let message = format!(
                "created VolumeSnapshot/{name} from PersistentVolumeClaim/{}",
                claim.name_any()
            );
            say(
                volsync,
                source,
                "VolumeSnapshotCreated",
                "CreateVolumeSnapshot",
                &message,
            )
            .await;
            created
        }
    };
    if !is_usable(&snapshot) {
        return Ok(None);
    }
    complete_trigger(volsync, claim).await?;
    Ok(Some(snapshot))
}

/// The claim `name` restored from `snapshot`, with the properties of `original`; created if it is missing.
pub(super) async fn ensure_restored(
    volsync: &VolSync,
    source: &ReplicationSource,
    options: &MoverOptions,
    original: &PersistentVolumeClaim,
    snapshot: &VolumeSnapshot,
    name: &str,
) -> Result<PersistentVolumeClaim, kube::Error> {
    let claims: Api<PersistentVolumeClaim> = volsync
        .actor
        .within(&source.namespace().unwrap_or_default());
    if let Some(claim) = claims.get_opt(name).await? {
        return Ok(claim);
    }
    let original = original.spec.clone().unwrap_or_default();
    let restore_size = snapshot
        .status
        .as_ref()
        .and_then(|status| status.restore_size.clone());
    let size = options.capacity.clone().or(restore_size);
    let requests = size.map(|size| [("storage".to_owned(), size)].into());
    let requests = requests.or_else(|| original.resources.and_then(|resources| resources.requests));
    let mut meta = metadata(source, name, true);
    // The scheduler's part for the mover's Pod; without effect for an immediate class.
    meta.annotations = Some([(SELECTED_NODE.to_owned(), volsync.node.clone())].into());
    let wanted = PersistentVolumeClaim {
        metadata: meta,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: options.access_modes.clone().or(original.access_modes),
            storage_class_name: options
                .storage_class_name
                .clone()
                .or(original.storage_class_name),
            resources: Some(VolumeResourceRequirements {
                requests,
                limits: None,
            }),
            data_source: Some(TypedLocalObjectReference {
                api_group: Some(snapshot::GROUP.to_owned()),
                kind: "VolumeSnapshot".to_owned(),
                name: snapshot.name_any(),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    match volsync.actor.create(&claims, &wanted).await? {
        Some(created) => {
            let message = format!(
                "created PersistentVolumeClaim/{name} from VolumeSnapshot/{}",
                snapshot.name_any()
            );
            say(
                volsync,
                source,
                "PersistentVolumeClaimCreated",
                "CreatePersistentVolumeClaim",
                &message,
            )
            .await;
            Ok(created)
        }
        None => claims.get(name).await,
    }
}

fn spec_of(claim: &PersistentVolumeClaim, options: &MoverOptions) -> VolumeSnapshotSpec {
    VolumeSnapshotSpec {
        source: VolumeSnapshotSource {
            persistent_volume_claim_name: Some(claim.name_any()),
            volume_snapshot_content_name: None,
        },
        volume_snapshot_class_name: options.volume_snapshot_class_name.clone(),
    }
}

/// Bound, and not known to be unready. One that is being deleted is awaited, and then created again.
fn is_usable(snapshot: &VolumeSnapshot) -> bool {
    let status = snapshot.status.clone().unwrap_or_default();
    snapshot.metadata.deletion_timestamp.is_none()
        && status.bound_volume_snapshot_content_name.is_some()
        && status.ready_to_use != Some(false)
}

/// Whether a person has enabled the copy trigger, and has not triggered a copy.
fn waits_for_trigger(claim: &PersistentVolumeClaim) -> bool {
    let annotations = claim.annotations();
    let trigger = annotations
        .get(COPY_TRIGGER)
        .filter(|trigger| !trigger.is_empty());
    annotations.contains_key(USE_COPY_TRIGGER)
        && (trigger.is_none() || trigger == annotations.get(LATEST_COPY_TRIGGER))
}

async fn wait_for_trigger(
    volsync: &VolSync,
    source: &ReplicationSource,
    claim: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    if claim
        .annotations()
        .get(LATEST_COPY_STATUS)
        .is_some_and(|status| status == WAITING_FOR_TRIGGER)
    {
        return Ok(());
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    annotate(
        volsync,
        claim,
        &json!({LATEST_COPY_STATUS: WAITING_FOR_TRIGGER, WAITING_SINCE: now}),
    )
    .await?;
    let message = format!(
        "Waiting on copy trigger on src PVC PersistentVolumeClaim/{} before creating snapshot or clone",
        claim.name_any()
    );
    say(
        volsync,
        source,
        "SrcPVCWaitingForCopyTrigger",
        "CreateSrcCopyUsingCopyTrigger",
        &message,
    )
    .await;
    Ok(())
}

async fn complete_trigger(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    let annotations = claim.annotations();
    let completed = annotations
        .get(LATEST_COPY_STATUS)
        .is_some_and(|status| status == COMPLETED);
    if !annotations.contains_key(USE_COPY_TRIGGER) || completed {
        return Ok(());
    }
    let served = annotations.get(COPY_TRIGGER);
    annotate(
        volsync,
        claim,
        &json!({LATEST_COPY_STATUS: COMPLETED, LATEST_COPY_TRIGGER: served}),
    )
    .await
}

async fn annotate(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    annotations: &serde_json::Value,
) -> Result<(), kube::Error> {
    let claims: Api<PersistentVolumeClaim> =
        volsync.actor.within(&claim.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"resourceVersion": claim.resource_version(), "annotations": annotations}});
    volsync
        .actor
        .merge(&claims, &claim.name_any(), &patch)
        .await
        .map(drop)
}

async fn say(
    volsync: &VolSync,
    source: &ReplicationSource,
    reason: &'static str,
    action: &'static str,
    message: &str,
) {
    volsync
        .recorder
        .note(
            source.object_ref(&()),
            Severity::Normal,
            reason,
            action,
            message,
        )
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(annotations: &[(&str, &str)]) -> PersistentVolumeClaim {
        let mut claim = PersistentVolumeClaim::default();
        for (key, value) in annotations {
            claim
                .annotations_mut()
                .insert((*key).to_owned(), (*value).to_owned());
        }
        claim
    }

    #[test]
    fn copy_waits_for_a_new_trigger() {
        assert!(!waits_for_trigger(&claim(&[])));
        assert!(!waits_for_trigger(&claim(&[(COPY_TRIGGER, "a")])));
        assert!(waits_for_trigger(&claim(&[(USE_COPY_TRIGGER, "")])));
        assert!(!waits_for_trigger(&claim(&[
            (USE_COPY_TRIGGER, ""),
            (COPY_TRIGGER, "b"),
            (LATEST_COPY_TRIGGER, "a")
        ])));
        assert!(waits_for_trigger(&claim(&[
            (USE_COPY_TRIGGER, ""),
            (COPY_TRIGGER, "a"),
            (LATEST_COPY_TRIGGER, "a")
        ])));
    }

    #[test]
    fn bound_snapshot_is_usable_unless_unready() {
        let snapshot = |status| VolumeSnapshot {
            status,
            ..VolumeSnapshot::new("a", VolumeSnapshotSpec::default())
        };
        let bound = snapshot::VolumeSnapshotStatus {
            bound_volume_snapshot_content_name: Some("c".into()),
            ..Default::default()
        };
        assert!(!is_usable(&snapshot(None)));
        assert!(is_usable(&snapshot(Some(bound.clone()))));
        let unready = snapshot::VolumeSnapshotStatus {
            ready_to_use: Some(false),
            ..bound
        };
        assert!(!is_usable(&snapshot(Some(unready))));
    }
}
