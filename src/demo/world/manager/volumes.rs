//! Releases PersistentVolumes whose claim is gone (`pkg/controller/volume/persistentvolume`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::Manager;
use crate::control::{control, watching};

pub(super) async fn run(manager: Manager) {
    let volumes = Controller::new(manager.actor.all::<PersistentVolume>(), watching());
    let known = volumes.store();
    let claims = manager.actor.all::<PersistentVolumeClaim>();
    let volumes = volumes.watches(claims, watching(), move |claim| bound_to(&known, &claim));
    let retry = manager.config.timings.retry;
    control(volumes, manager, retry, reconcile).await;
}

fn bound_to(
    volumes: &Store<PersistentVolume>,
    claim: &PersistentVolumeClaim,
) -> Option<ObjectRef<PersistentVolume>> {
    let bound = volumes.find(|volume| {
        let owner = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref());
        owner.is_some_and(|owner| owner.uid == claim.uid())
    });
    bound.map(|volume| ObjectRef::from_obj(&*volume))
}

async fn reconcile(
    volume: Arc<PersistentVolume>,
    manager: Arc<Manager>,
) -> Result<Action, kube::Error> {
    let bound = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some("Bound");
    let owner = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    let Some(owner) = owner.filter(|_| bound) else {
        return Ok(Action::await_change());
    };
    let claims: Api<PersistentVolumeClaim> = manager
        .actor
        .within(owner.namespace.as_deref().unwrap_or_default());
    let claim = claims
        .get_opt(owner.name.as_deref().unwrap_or_default())
        .await?;
    if claim.is_some_and(|claim| claim.uid() == owner.uid) {
        return Ok(Action::await_change());
    }
    let volumes: Api<PersistentVolume> = manager.actor.all();
    let released = json!({"status": {"phase": "Released"}});
    manager
        .actor
        .merge_status(&volumes, &volume.name_any(), &released)
        .await?;
    Ok(Action::await_change())
}
