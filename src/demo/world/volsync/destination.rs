//! Restores a ReplicationDestination, one step at a time: a claim, its data, and a snapshot of it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::machine::{Machine, Next, State};
use super::source::is_bound;
use super::{Failure, Progress, VolSync, metadata};
use locksmith_api::snapshot::{self, VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use locksmith_api::volsync::{MoverOptions, ReplicationDestination};

/// Annotation of the destination's claim with the snapshot that is taken of it.
const SNAPSHOT_NAME: &str = "volsync.backube/snapname";

pub(super) async fn reconcile(
    destination: Arc<ReplicationDestination>,
    volsync: Arc<VolSync>,
) -> Result<Action, Failure> {
    let Some(options) = destination.spec.restic.clone() else {
        return Ok(Action::await_change());
    };
    let machine = Machine::from(&*destination);
    match machine.next(Timestamp::now()) {
        Next::Begin => {
            volsync
                .write_status(&*destination, &machine.begun(Timestamp::now()))
                .await?;
            Ok(Action::await_change())
        }
        Next::Synchronize => match synchronize(&volsync, &destination, &options).await {
            Ok(Progress::Completed(image)) => {
                let mut status = machine.completed(Timestamp::now());
                status["latestImage"] = image;
                volsync.write_status(&*destination, &status).await?;
                Ok(Action::await_change())
            }
            Ok(Progress::InProgress) => {
                volsync
                    .say(&*destination, &machine, &State::InProgress)
                    .await?;
                Ok(Action::requeue(volsync.timings.volsync_requeue))
            }
            Err(failure) => {
                volsync
                    .say(&*destination, &machine, &State::Error(failure.to_string()))
                    .await?;
                Err(failure)
            }
        },
        Next::Idle(until) => {
            forget_snapshot(&volsync, &destination).await?;
            if let Some(status) = machine.idle(Timestamp::now()) {
                volsync.write_status(&*destination, &status).await?;
            }
            Ok(until.map_or_else(Action::await_change, Action::requeue))
        }
    }
}

/// Completes with `status.latestImage`.
async fn synchronize(
    volsync: &VolSync,
    destination: &ReplicationDestination,
    options: &MoverOptions,
) -> Result<Progress<Value>, Failure> {
    let claim = ensure_claim(volsync, destination, options).await?;
    if !is_bound(&claim) || destination.spec.paused == Some(true) {
        return Ok(Progress::InProgress);
    }
    let name = if let Some(name) = claim.annotations().get(SNAPSHOT_NAME) {
        name.clone()
    } else {
        tokio::time::sleep(volsync.timings.mover).await;
        name_snapshot(volsync, &claim).await?
    };
    let snapshot = ensure_snapshot(volsync, destination, options, &claim, &name).await?;
    // VolSync does not wait for the snapshot to be ready here.
    let bound = snapshot
        .status
        .and_then(|status| status.bound_volume_snapshot_content_name)
        .is_some();
    Ok(if bound {
        Progress::Completed(json!(TypedLocalObjectReference {
            api_group: Some(snapshot::GROUP.to_owned()),
            kind: "VolumeSnapshot".to_owned(),
            name,
        }))
    } else {
        Progress::InProgress
    })
}

async fn ensure_claim(
    volsync: &VolSync,
    destination: &ReplicationDestination,
    options: &MoverOptions,
) -> Result<PersistentVolumeClaim, kube::Error> {
    let name = claim_name(destination);
    let claims = claims(volsync, destination);
    if let Some(claim) = claims.get_opt(&name).await? {
        return Ok(claim);
    }
    let requests = options
        .capacity
        .clone()
        .map(|size| [("storage".to_owned(), size)].into());
    let wanted = PersistentVolumeClaim {
        metadata: metadata(destination, &name, false),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: options.access_modes.clone(),
            storage_class_name: options.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests,
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    match volsync.actor.create(&claims, &wanted).await? {
        Some(created) => Ok(created),
        None => claims.get(&name).await,
    }
}

/// The name remains on the claim until the end of the sync, so that each sync takes one snapshot.
async fn name_snapshot(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
) -> Result<String, kube::Error> {
    let name = format!(
        "{}-{}",
        claim.name_any(),
        Timestamp::now().strftime("%Y%m%d%H%M%S")
    );
    let claims: Api<PersistentVolumeClaim> =
        volsync.actor.within(&claim.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"annotations": {SNAPSHOT_NAME: name}}});
    volsync
        .actor
        .merge(&claims, &claim.name_any(), &patch)
        .await?;
    Ok(name)
}

async fn forget_snapshot(
    volsync: &VolSync,
    destination: &ReplicationDestination,
) -> Result<(), kube::Error> {
    let (claims, name) = (claims(volsync, destination), claim_name(destination));
    let claim = claims.get_opt(&name).await?;
    if claim.is_some_and(|claim| claim.annotations().contains_key(SNAPSHOT_NAME)) {
        let patch = json!({"metadata": {"annotations": {SNAPSHOT_NAME: null}}});
        volsync.actor.merge(&claims, &name, &patch).await?;
    }
    Ok(())
}

async fn ensure_snapshot(
    volsync: &VolSync,
    destination: &ReplicationDestination,
    options: &MoverOptions,
    claim: &PersistentVolumeClaim,
    name: &str,
) -> Result<VolumeSnapshot, kube::Error> {
    let snapshots: Api<VolumeSnapshot> = volsync
        .actor
        .within(&destination.namespace().unwrap_or_default());
    if let Some(snapshot) = snapshots.get_opt(name).await? {
        return Ok(snapshot);
    }
    let spec = VolumeSnapshotSpec {
        source: VolumeSnapshotSource {
            persistent_volume_claim_name: Some(claim.name_any()),
            volume_snapshot_content_name: None,
        },
        volume_snapshot_class_name: options.volume_snapshot_class_name.clone(),
    };
    let mut wanted = VolumeSnapshot::new(name, spec);
    wanted.metadata = metadata(destination, name, false);
    match volsync.actor.create(&snapshots, &wanted).await? {
        Some(created) => Ok(created),
        None => snapshots.get(name).await,
    }
}

fn claims(volsync: &VolSync, destination: &ReplicationDestination) -> Api<PersistentVolumeClaim> {
    volsync
        .actor
        .within(&destination.namespace().unwrap_or_default())
}

fn claim_name(destination: &ReplicationDestination) -> String {
    format!("volsync-{}-dest", destination.name_any())
}
