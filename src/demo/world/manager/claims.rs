//! Delegates PersistentVolumeClaims to their provisioners, and binds them to the created volumes
//! (`pkg/controller/volume/persistentvolume`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::Manager;
use crate::control::{control, watching};
use crate::events::Severity;
use crate::names::{SELECTED_NODE, STORAGE_PROVISIONER};

/// Set on a claim and a volume that this controller has bound.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Written beside [`STORAGE_PROVISIONER`] for older provisioners.
const BETA_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";

pub(super) async fn run(manager: Manager) {
    let volumes = manager.actor.all::<PersistentVolume>();
    let claims = Controller::new(manager.actor.all::<PersistentVolumeClaim>(), watching()).watches(
        volumes,
        watching(),
        owner,
    );
    let retry = manager.config.timings.retry;
    control(claims, manager, retry, reconcile).await;
}

/// The claim of a volume.
fn owner(volume: PersistentVolume) -> Option<ObjectRef<PersistentVolumeClaim>> {
    let claim = volume.spec?.claim_ref?;
    Some(ObjectRef::new(&claim.name?).within(&claim.namespace?))
}

async fn reconcile(
    claim: Arc<PersistentVolumeClaim>,
    manager: Arc<Manager>,
) -> Result<Action, kube::Error> {
    let spec = claim.spec.clone().unwrap_or_default();
    let volumes: Api<PersistentVolume> = manager.actor.all();
    if let Some(name) = &spec.volume_name {
        let volume = volumes.get_opt(name).await?;
        let ours = volume.filter(|volume| is_for(volume, &claim));
        match ours {
            Some(volume) => bind(&manager, &claim, &volume).await?,
            None => set_phase(&manager, &claim, "Lost").await?,
        }
        return Ok(Action::await_change());
    }
    let all = volumes.list(&ListParams::default()).await?;
    match all.items.iter().find(|volume| is_for(volume, &claim)) {
        Some(volume) => bind(&manager, &claim, volume).await?,
        None => leave_to_provisioner(&manager, &claim).await?,
    }
    Ok(Action::await_change())
}

fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let spec = volume.spec.as_ref();
    let owner = spec.and_then(|spec| spec.claim_ref.as_ref());
    owner.is_some_and(|owner| owner.uid == claim.uid())
}

/// Binds both sides, the volume first.
async fn bind(
    manager: &Manager,
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Result<(), kube::Error> {
    let volumes: Api<PersistentVolume> = manager.actor.all();
    let status = volume.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) != Some("Bound") {
        let bound = json!({"status": {"phase": "Bound"}});
        manager
            .actor
            .merge_status(&volumes, &volume.name_any(), &bound)
            .await?;
    }
    let claims: Api<PersistentVolumeClaim> =
        manager.actor.within(&claim.namespace().unwrap_or_default());
    let spec = claim.spec.as_ref();
    if spec.and_then(|spec| spec.volume_name.as_ref()).is_none() {
        let patch = json!({
            "metadata": {
                "resourceVersion": claim.resource_version(),
                "annotations": {BOUND_BY_CONTROLLER: "yes", BIND_COMPLETED: "yes"},
            },
            "spec": {"volumeName": volume.name_any()},
        });
        manager
            .actor
            .merge(&claims, &claim.name_any(), &patch)
            .await?;
    }
    if phase(claim) != Some("Bound") {
        let spec = volume.spec.clone().unwrap_or_default();
        let bound = json!({"status": {
            "phase": "Bound",
            "capacity": spec.capacity,
            "accessModes": spec.access_modes,
        }});
        manager
            .actor
            .merge_status(&claims, &claim.name_any(), &bound)
            .await?;
    }
    Ok(())
}

/// Annotates the claim for the provisioner of its class.
async fn leave_to_provisioner(
    manager: &Manager,
    claim: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    set_phase(manager, claim, "Pending").await?;
    let spec = claim.spec.as_ref();
    let Some(class) = spec.and_then(|spec| spec.storage_class_name.as_deref()) else {
        return Ok(());
    };
    let Some(class) = manager.actor.all::<StorageClass>().get_opt(class).await? else {
        return Ok(());
    };
    let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    if waits && !claim.annotations().contains_key(SELECTED_NODE) {
        let message = "waiting for first consumer to be created before binding";
        say(manager, claim, "WaitForFirstConsumer", message).await;
        return Ok(());
    }
    if !claim.annotations().contains_key(STORAGE_PROVISIONER) {
        let claims: Api<PersistentVolumeClaim> =
            manager.actor.within(&claim.namespace().unwrap_or_default());
        let patch = json!({"metadata": {
            "resourceVersion": claim.resource_version(),
            "annotations": {
                STORAGE_PROVISIONER: class.provisioner,
                BETA_STORAGE_PROVISIONER: class.provisioner,
            },
        }});
        manager
            .actor
            .merge(&claims, &claim.name_any(), &patch)
            .await?;
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
             administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
             registered.",
            class.provisioner
        );
        say(manager, claim, "ExternalProvisioning", &message).await;
    }
    Ok(())
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

async fn set_phase(
    manager: &Manager,
    claim: &PersistentVolumeClaim,
    wanted: &str,
) -> Result<(), kube::Error> {
    if phase(claim) == Some(wanted) {
        return Ok(());
    }
    let claims: Api<PersistentVolumeClaim> =
        manager.actor.within(&claim.namespace().unwrap_or_default());
    let patch = json!({"status": {"phase": wanted}});
    manager
        .actor
        .merge_status(&claims, &claim.name_any(), &patch)
        .await
        .map(drop)
}

async fn say(
    manager: &Manager,
    claim: &PersistentVolumeClaim,
    reason: &'static str,
    message: &str,
) {
    manager
        .recorder
        .say(claim.object_ref(&()), Severity::Normal, reason, message)
        .await;
}
