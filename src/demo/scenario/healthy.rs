//! Waits until apps are healthy: claims bound, Pods running, images ready.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt};

use super::app::App;
use super::wait::{PATIENCE, until};
use super::{Error, Identity};
use crate::api::snapshot::VolumeSnapshot;
use crate::api::volsync::ReplicationDestination;
use crate::demo::world::Actor;

/// Waits until the claims of `apps` are bound.
pub(super) async fn bound(person: &Actor, apps: &[&App]) -> Result<(), Error> {
    let is_bound = |claim: &PersistentVolumeClaim| {
        claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Bound")
    };
    until(
        person.all::<PersistentVolumeClaim>(),
        "claims to be bound",
        PATIENCE,
        |claims| {
            apps.iter()
                .all(|app| find(claims, &app.namespace, &app.name).is_some_and(is_bound))
        },
    )
    .await
    .map(drop)
}

/// Waits until each of `apps` that is not scaled to zero has a running Pod.
pub(super) async fn running(person: &Actor, apps: &[&App]) -> Result<(), Error> {
    let runs = |pod: &Pod, app: &App| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        pod.namespace().as_ref() == Some(&app.namespace)
            && app.owns(pod)
            && phase == Some("Running")
    };
    until(person.all::<Pod>(), "apps to run", PATIENCE, |pods| {
        apps.iter()
            .filter(|app| app.running)
            .all(|app| pods.iter().any(|pod| runs(pod, app)))
    })
    .await
    .map(drop)
}

/// Waits until the destinations of `apps` have an image each; returns the names of these snapshots.
pub(super) async fn restorable(person: &Actor, apps: &[&App]) -> Result<Vec<String>, Error> {
    let images = |destinations: &[Arc<ReplicationDestination>]| -> Option<Vec<String>> {
        let image = |app: &&App| {
            let destination = find(destinations, &app.namespace, &app.destination_name())?;
            Some(
                destination
                    .status
                    .as_ref()?
                    .latest_image
                    .as_ref()?
                    .name
                    .clone(),
            )
        };
        apps.iter().map(image).collect()
    };
    let destinations = person.all::<ReplicationDestination>();
    let destinations = until(destinations, "images to restore from", PATIENCE, |all| {
        images(all).is_some()
    })
    .await?;
    let images = images(&destinations).unwrap_or_default();
    let is_ready = |snapshot: &VolumeSnapshot| {
        snapshot
            .status
            .as_ref()
            .and_then(|status| status.ready_to_use)
            == Some(true)
    };
    until(
        person.all::<VolumeSnapshot>(),
        "images to be ready",
        PATIENCE,
        |snapshots| {
            let mut wanted = apps.iter().zip(&images);
            wanted.all(|(app, image)| find(snapshots, &app.namespace, image).is_some_and(is_ready))
        },
    )
    .await?;
    Ok(images)
}

/// Deletes the claim of `app`; finalizers may keep it.
pub(super) async fn delete_claim(person: &Actor, app: &App) -> Result<Identity, Error> {
    let claims = person.within::<PersistentVolumeClaim>(&app.namespace);
    let claim = Identity::of(&claims.get(&app.name).await?);
    person
        .delete(&claims, &claim.name, Some(claim.uid.clone()))
        .await?;
    Ok(claim)
}

/// Waits until nothing is left of the volume of a deleted claim, including in the backend.
pub(super) async fn reclaimed(person: &Actor, claim: &Identity) -> Result<(), Error> {
    let belongs = |volume: &PersistentVolume| {
        let owner = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref());
        owner.is_some_and(|owner| owner.uid.as_ref() == Some(&claim.uid))
    };
    until(
        person.all::<PersistentVolume>(),
        "a deleted claim's volume to go",
        PATIENCE,
        |volumes| !volumes.iter().any(|volume| belongs(volume)),
    )
    .await
    .map(drop)
}

fn find<'a, K: Resource>(all: &'a [Arc<K>], namespace: &str, name: &str) -> Option<&'a K> {
    let found = all
        .iter()
        .find(|one| one.namespace().as_deref() == Some(namespace) && one.name_any() == name);
    found.map(|one| &**one)
}
