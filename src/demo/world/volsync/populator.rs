//! The volume populator: fills a claim that names a ReplicationDestination.
//!
//! Follows `volumepopulator_controller.go`: another claim, `vs-prime-<uid>`, is restored from the destination's latest
//! image; then its volume is handed over to the requesting claim, which is pending until then.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedObjectReference,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::VolSync;
use crate::control::{control, watching};
use crate::events::Severity::{self, Normal, Warning};
use crate::names::SELECTED_NODE;
use locksmith_api::snapshot::VolumeSnapshot;
use locksmith_api::volsync::{
    CREATED_BY_LABEL, CREATED_BY_VOLSYNC, GROUP, POPULATOR_LABEL_PREFIX, ReplicationDestination,
};

/// Label of the restored claim with the claim it was created for.
const PRIME_LABEL: &str = "volsync.backube/populator-pvc-for";
/// Annotation of the volume with the source of its data.
const POPULATED_FROM: &str = "volsync.backube/populated-from";

/// Runs until dropped.
pub(super) async fn run(volsync: VolSync) {
    let actor = &volsync.actor;
    let claims = Controller::new(actor.all::<PersistentVolumeClaim>(), watching());
    let known = claims.store();
    let claims = claims
        .owns(actor.all::<PersistentVolumeClaim>(), watching())
        .watches(
            actor.all::<ReplicationDestination>(),
            watching(),
            move |destination| waiting(&known, &destination),
        );
    let retry = volsync.timings.volsync_retry;
    control(claims, volsync, retry, reconcile).await;
}

/// The claims that wait for this destination.
fn waiting(
    known: &Store<PersistentVolumeClaim>,
    destination: &ReplicationDestination,
) -> Vec<ObjectRef<PersistentVolumeClaim>> {
    let (namespace, name) = (destination.namespace(), destination.name_any());
    let waiting = known.state_filter(|claim| {
        claim.namespace() == namespace
            && !has_volume(claim)
            && destination_of(claim) == Some(name.as_str())
    });
    waiting
        .iter()
        .map(|claim| ObjectRef::from_obj(&**claim))
        .collect()
}

async fn reconcile(
    claim: Arc<PersistentVolumeClaim>,
    volsync: Arc<VolSync>,
) -> Result<Action, kube::Error> {
    let Some(destination) = destination_of(&claim) else {
        return Ok(Action::await_change());
    };
    let claims: Api<PersistentVolumeClaim> =
        volsync.actor.within(&claim.namespace().unwrap_or_default());
    let prime = claims.get_opt(&prime_name(&claim)).await?;
    if has_volume(&claim) {
        if let Some(prime) = prime.filter(|prime| phase(prime) == Some("Lost")) {
            say(
                &volsync,
                &claim,
                Normal,
                "VolSyncPopulatorFinished",
                "Populator finished",
            )
            .await;
            finish(&volsync, &claim, &prime).await?;
        }
    } else if let Some(prime) = prime {
        own_snapshots(&volsync, &claim, &prime).await?;
        rebind(&volsync, &claim, &prime).await?;
    } else if ready_to_place(&volsync, &claim).await? {
        begin(&volsync, &claim, destination).await?;
    }
    Ok(Action::await_change())
}

/// A class that waits for its first consumer requires the consumer's Node first.
async fn ready_to_place(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
) -> Result<bool, kube::Error> {
    let Some(name) = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref())
    else {
        return Ok(true);
    };
    let class = volsync.actor.all::<StorageClass>().get_opt(name).await?;
    Ok(class.is_some_and(|class| {
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        !waits || claim.annotations().contains_key(SELECTED_NODE)
    }))
}

async fn begin(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    destination: &str,
) -> Result<(), kube::Error> {
    let namespace = claim.namespace().unwrap_or_default();
    let destinations: Api<ReplicationDestination> = volsync.actor.within(&namespace);
    let Some(destination) = destinations.get_opt(destination).await? else {
        let message = format!(
            "Unable to populate volume: replicationdestinations.{GROUP} \"{destination}\" not found"
        );
        say(
            volsync,
            claim,
            Warning,
            "VolSyncPopulatorReplicationDestinationMissing",
            &message,
        )
        .await;
        return Ok(());
    };
    let Some(image) = destination.status.and_then(|status| status.latest_image) else {
        let message =
            "Unable to populate volume, waiting for replicationdestination to have latestImage";
        say(
            volsync,
            claim,
            Warning,
            "VolSyncPopulatorReplicationDestinationNoLatestImage",
            message,
        )
        .await;
        return Ok(());
    };
    let snapshots: Api<VolumeSnapshot> = volsync.actor.within(&namespace);
    let label = json!({"metadata": {"labels": {in_use_label(claim): claim.name_any()}}});
    volsync.actor.merge(&snapshots, &image.name, &label).await?;

    let spec = claim.spec.clone().unwrap_or_default();
    let mut prime = PersistentVolumeClaim {
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: spec.access_modes,
            resources: spec.resources,
            storage_class_name: spec.storage_class_name,
            volume_mode: spec.volume_mode,
            data_source_ref: Some(TypedObjectReference {
                api_group: image.api_group,
                kind: image.kind,
                name: image.name.clone(),
                namespace: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    prime.metadata.name = Some(prime_name(claim));
    prime.metadata.owner_references = claim.controller_owner_ref(&()).map(|owner| vec![owner]);
    let labels = [
        (CREATED_BY_LABEL.to_owned(), CREATED_BY_VOLSYNC.to_owned()),
        (PRIME_LABEL.to_owned(), claim.name_any()),
    ];
    prime.metadata.labels = Some(labels.into());
    prime.metadata.annotations = claim
        .annotations()
        .get(SELECTED_NODE)
        .map(|node| [(SELECTED_NODE.to_owned(), node.clone())].into());
    let claims: Api<PersistentVolumeClaim> = volsync.actor.within(&namespace);
    if volsync.actor.create(&claims, &prime).await?.is_some() {
        let message = format!("Populator pvc created from snapshot {}", image.name);
        say(
            volsync,
            claim,
            Normal,
            "VolSyncPopulatorPVCCreated",
            &message,
        )
        .await;
    }
    Ok(())
}

/// Protects the snapshots in use until the restored claim is gone.
async fn own_snapshots(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    prime: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    let snapshots: Api<VolumeSnapshot> =
        volsync.actor.within(&claim.namespace().unwrap_or_default());
    for snapshot in snapshots
        .list(&ListParams::default().labels(&in_use_label(claim)))
        .await?
    {
        let mut owners = snapshot.owner_references().to_vec();
        let Some(owner) = prime
            .owner_ref(&())
            .filter(|owner| owners.iter().all(|known| known.uid != owner.uid))
        else {
            continue;
        };
        owners.push(owner);
        let patch = json!({"metadata": {"resourceVersion": snapshot.resource_version(), "ownerReferences": owners}});
        volsync
            .actor
            .merge(&snapshots, &snapshot.name_any(), &patch)
            .await?;
    }
    Ok(())
}

/// Hands the restored volume over to the requesting claim; the controller manager binds it.
async fn rebind(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    prime: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    let Some(name) = prime
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
    else {
        return Ok(());
    };
    let volumes: Api<PersistentVolume> = volsync.actor.all();
    let Some(volume) = volumes.get_opt(name).await? else {
        return Ok(());
    };
    let owner = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    if owner.is_some_and(|owner| owner.uid == claim.uid()) {
        return Ok(());
    }
    let namespace = claim.namespace().unwrap_or_default();
    let image = prime
        .spec
        .as_ref()
        .and_then(|spec| spec.data_source_ref.as_ref())
        .map(|image| image.name.clone());
    let patch = json!({
        "metadata": {
            "resourceVersion": volume.resource_version(),
            "annotations": {POPULATED_FROM: format!("{namespace}/{}", image.unwrap_or_default())},
        },
        "spec": {"claimRef": {
            "namespace": namespace,
            "name": claim.name_any(),
            "uid": claim.uid(),
            "resourceVersion": claim.resource_version(),
        }},
    });
    volsync.actor.merge(&volumes, name, &patch).await?;
    Ok(())
}

async fn finish(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    prime: &PersistentVolumeClaim,
) -> Result<(), kube::Error> {
    let namespace = claim.namespace().unwrap_or_default();
    let snapshots: Api<VolumeSnapshot> = volsync.actor.within(&namespace);
    for snapshot in snapshots
        .list(&ListParams::default().labels(&in_use_label(claim)))
        .await?
    {
        let patch = json!({"metadata": {"labels": {in_use_label(claim): null}}});
        volsync
            .actor
            .merge(&snapshots, &snapshot.name_any(), &patch)
            .await?;
    }
    let claims: Api<PersistentVolumeClaim> = volsync.actor.within(&namespace);
    volsync
        .actor
        .delete(&claims, &prime.name_any(), prime.uid())
        .await
}

async fn say(
    volsync: &VolSync,
    claim: &PersistentVolumeClaim,
    severity: Severity,
    reason: &'static str,
    message: &str,
) {
    volsync
        .recorder
        .note(
            claim.object_ref(&()),
            severity,
            reason,
            "Provision Volume",
            message,
        )
        .await;
}

/// The ReplicationDestination from which `claim` is populated.
fn destination_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let reference = claim.spec.as_ref()?.data_source_ref.as_ref()?;
    let ours =
        reference.api_group.as_deref() == Some(GROUP) && reference.kind == "ReplicationDestination";
    ours.then_some(reference.name.as_str())
}

fn has_volume(claim: &PersistentVolumeClaim) -> bool {
    claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .is_some_and(|name| !name.is_empty())
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

fn prime_name(claim: &PersistentVolumeClaim) -> String {
    format!("vs-prime-{}", claim.uid().unwrap_or_default())
}

fn in_use_label(claim: &PersistentVolumeClaim) -> String {
    format!(
        "{POPULATOR_LABEL_PREFIX}{}",
        claim.uid().unwrap_or_default()
    )
}
