//! Backs up a ReplicationSource, one step at a time.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};

use super::machine::{Machine, Next, State};
use super::{Failure, Namespaced, Progress, VolSync, copy};
use crate::actor::Kind;
use locksmith_api::snapshot::VolumeSnapshot;
use locksmith_api::volsync::{
    CLEANUP_LABEL, DO_NOT_DELETE_LABEL, ReplicationSource, temporary_name,
};

pub(super) async fn reconcile(
    source: Arc<ReplicationSource>,
    volsync: Arc<VolSync>,
) -> Result<Action, Failure> {
    // Sources with syncthing, external or no mover need no action.
    if source.spec.mover().is_none() || source.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let machine = Machine::from(&*source);
    match machine.next(Timestamp::now()) {
        Next::Begin => {
            cleanup(&volsync, &*source).await?;
            volsync
                .write_status(&*source, &machine.begun(Timestamp::now()))
                .await?;
            Ok(Action::await_change())
        }
        Next::Synchronize => match synchronize(&volsync, &source).await {
            Ok(Progress::Completed(())) => {
                volsync
                    .write_status(&*source, &machine.completed(Timestamp::now()))
                    .await?;
                Ok(Action::await_change())
            }
            Ok(Progress::InProgress) => {
                volsync.say(&*source, &machine, &State::InProgress).await?;
                Ok(Action::requeue(volsync.timings.volsync_requeue))
            }
            Err(failure) => {
                volsync
                    .say(&*source, &machine, &State::Error(failure.to_string()))
                    .await?;
                Err(failure)
            }
        },
        Next::Idle(until) => {
            cleanup(&volsync, &*source).await?;
            if let Some(status) = machine.idle(Timestamp::now()) {
                volsync.write_status(&*source, &status).await?;
            }
            Ok(until.map_or_else(Action::await_change, Action::requeue))
        }
    }
}

/// `Synchronize` of the mover: source claim, snapshot, temporary claim, then the mover.
async fn synchronize(
    volsync: &VolSync,
    source: &ReplicationSource,
) -> Result<Progress<()>, Failure> {
    let options = source.spec.mover().cloned().unwrap_or_default();
    let wanted = source.spec.source_pvc.clone().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = volsync
        .actor
        .within(&source.namespace().unwrap_or_default());
    let claim = claims
        .get_opt(&wanted)
        .await?
        .ok_or(Failure::NoSuchClaim(wanted))?;
    if source.spec.copies() {
        let name = temporary_name(&source.name_any());
        let Some(snapshot) =
            copy::ensure_snapshot(volsync, source, &options, &claim, &name).await?
        else {
            return Ok(Progress::InProgress);
        };
        let copied =
            copy::ensure_restored(volsync, source, &options, &claim, &snapshot, &name).await?;
        if !is_bound(&copied) {
            return Ok(Progress::InProgress);
        }
    }
    if source.spec.paused == Some(true) {
        return Ok(Progress::InProgress);
    }
    tokio::time::sleep(volsync.timings.mover).await;
    Ok(Progress::Completed(()))
}

/// Whether the claim is bound to a volume.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some("Bound")
}

/// Deletes the temporary objects of a finished sync.
pub(super) async fn cleanup<K: Kind>(volsync: &VolSync, owner: &K) -> Result<(), kube::Error> {
    delete_temporaries::<PersistentVolumeClaim, K>(volsync, owner).await?;
    delete_temporaries::<VolumeSnapshot, K>(volsync, owner).await
}

async fn delete_temporaries<T: Kind + Namespaced, K: Resource>(
    volsync: &VolSync,
    owner: &K,
) -> Result<(), kube::Error> {
    let api: Api<T> = volsync.actor.within(&owner.namespace().unwrap_or_default());
    let temporaries = ListParams::default().labels(&format!(
        "{CLEANUP_LABEL}={}",
        owner.uid().unwrap_or_default()
    ));
    for temporary in api.list(&temporaries).await? {
        let protected = temporary.labels().contains_key(DO_NOT_DELETE_LABEL);
        if !protected && temporary.meta().deletion_timestamp.is_none() {
            volsync
                .actor
                .delete(&api, &temporary.name_any(), temporary.uid())
                .await?;
        }
    }
    Ok(())
}
