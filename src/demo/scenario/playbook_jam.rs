//! The jam of the playbook: sources of deleted claims, snapshots that never become ready, and restores that are refused,
//! because driver processes hold locks.
//!
//! Everything is healthy at first. Then the backend becomes sick, and the calls for backups and restores never return.
//! After that the outage may be over, but the locks of the old processes remain.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::app::{App, Restore};
use super::cast::{Cast, NAMESPACES};
use super::wait::{PATIENCE, until};
use super::{Error, Identity, MANAGER, healthy, namespaces};
use crate::api::snapshot::VolumeSnapshot;
use crate::api::volsync::{ReplicationSource, temporary_name};
use crate::demo::world::{Actor, Scope, World};

/// State of the backend once the jam is complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// It is healthy again: new driver processes work.
    Over,
    /// It stays sick: a restart does not help.
    Lasting,
}

/// The jam, for assertions and for the demo's output. Lists are sorted by namespace and name.
#[derive(Clone, Debug)]
pub struct Jam {
    /// Every ReplicationSource.
    pub sources: Vec<Identity>,
    /// Sources whose claim is missing or being deleted.
    pub orphaned: Vec<Identity>,
    /// Snapshots whose creation the driver refuses.
    pub stuck_snapshots: Vec<Identity>,
    /// Claims whose restore the driver refuses.
    pub pending: Vec<Pending>,
    /// The claim that was deleted while a stuck snapshot of it exists.
    pub terminating: Identity,
    /// Apps that are scaled to zero.
    pub stopped: Vec<App>,
    /// Apps whose Pods run.
    pub running: Vec<App>,
}

/// A claim that waits for its data.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The claim of the app.
    pub claim: Identity,
    /// The claim for which the driver refuses a volume: the same, or the populator's `vs-prime-…`.
    pub refused: Identity,
    /// How it is restored.
    pub restore: Restore,
}

/// Creates the jam in `world`; installs missing objects.
pub async fn playbook_jam(world: &World, outage: Outage) -> Result<Jam, Error> {
    let cast = Cast::new();
    let person = world.person(MANAGER);
    world.install().await?;
    namespaces(&person, &NAMESPACES).await?;
    let images = begin_healthy(&cast, &person).await?;

    world.ceph().sicken(Scope::All);
    for app in cast.snapshotted().chain([&cast.gone]) {
        app.begin_sync(&person).await?;
    }
    let restores = restore(&cast, images, &person).await?;
    let stuck_snapshots = stuck_snapshots(&cast, &person).await?;
    let pending = refused_claims(restores, &person).await?;
    let terminating = healthy::delete_claim(&person, &cast.leaving).await?;
    let (sources, orphaned) = judged_sources(&cast, &person).await?;
    if outage == Outage::Over {
        world.ceph().heal();
    }
    let (running, stopped) = cast.deployed().cloned().partition(|app| app.running);
    Ok(Jam {
        sources,
        orphaned,
        stuck_snapshots,
        pending,
        terminating,
        stopped,
        running,
    })
}

/// Claims are bound, apps run, images to restore from are ready, one claim is deleted. Returns the images' names.
async fn begin_healthy(cast: &Cast, person: &Actor) -> Result<Vec<String>, Error> {
    let synced = Timestamp::now();
    for app in cast.restored() {
        person
            .create(&person.within(&app.namespace), &app.destination())
            .await?;
    }
    for app in cast.deployed() {
        app.deploy(person, &app.claim()).await?;
    }
    for app in cast.undeployed() {
        person
            .create(&person.within(&app.namespace), &app.claim())
            .await?;
    }
    for app in cast.all() {
        app.back_up(person, synced).await?;
    }
    let deployed: Vec<_> = cast.deployed().collect();
    healthy::bound(person, &deployed).await?;
    healthy::bound(person, &cast.undeployed()).await?;
    healthy::running(person, &deployed).await?;
    let gone = healthy::delete_claim(person, &cast.gone).await?;
    // The backend must have deleted it before it becomes sick.
    healthy::reclaimed(person, &gone).await?;
    healthy::restorable(person, &cast.restored().collect::<Vec<_>>()).await
}

/// Deploys the apps whose data is restored from a backup; `images` are the snapshots.
async fn restore(
    cast: &Cast,
    images: Vec<String>,
    person: &Actor,
) -> Result<Vec<(App, Restore)>, Error> {
    let restores = cast.restored().zip(images).map(|(app, image)| {
        let populated = cast.populating.iter().any(|one| one.name == app.name);
        (
            app.clone(),
            if populated {
                Restore::Destination
            } else {
                Restore::Snapshot(image)
            },
        )
    });
    let restores: Vec<_> = restores.collect();
    for (app, from) in &restores {
        app.deploy(person, &app.restored_claim(from)).await?;
    }
    Ok(restores)
}

/// The stuck snapshots, once the driver refuses each.
async fn stuck_snapshots(cast: &Cast, person: &Actor) -> Result<Vec<Identity>, Error> {
    let of_app = |app: &App, snapshot: &VolumeSnapshot| {
        let names = app.sources.iter().map(|source| temporary_name(source));
        snapshot.namespace().as_ref() == Some(&app.namespace)
            && names.into_iter().any(|n| n == snapshot.name_any())
    };
    let stuck = |all: &[Arc<VolumeSnapshot>]| -> Vec<Identity> {
        let ours = all
            .iter()
            .filter(|one| cast.snapshotted().any(|app| of_app(app, one)));
        ours.filter(|one| is_refused(one))
            .map(|one| Identity::of(&**one))
            .collect()
    };
    let expected: usize = cast.snapshotted().map(|app| app.sources.len()).sum();
    let snapshots = person.all::<VolumeSnapshot>();
    let all = until(snapshots, "snapshots to be stuck", PATIENCE, |all| {
        stuck(all).len() == expected
    })
    .await?;
    let mut stuck = stuck(&all);
    stuck.sort();
    Ok(stuck)
}

/// The claims being restored, once the driver refuses each.
async fn refused_claims(
    restores: Vec<(App, Restore)>,
    person: &Actor,
) -> Result<Vec<Pending>, Error> {
    let mut pending = Vec::new();
    for (app, restore) in restores {
        let claims = person.within::<PersistentVolumeClaim>(&app.namespace);
        let claim = Identity::of(&claims.get(&app.name).await?);
        let refused = match restore {
            Restore::Snapshot(_) => claim.clone(),
            Restore::Destination => prime_of(person, &claim).await?,
        };
        pending.push(Pending {
            claim,
            refused,
            restore,
        });
    }
    pending.sort_by(|one, other| one.claim.cmp(&other.claim));
    until(
        person.all::<Event>(),
        "restores to be refused",
        PATIENCE,
        |events| {
            pending
                .iter()
                .all(|pending| events.iter().any(|event| refuses(event, &pending.refused)))
        },
    )
    .await?;
    Ok(pending)
}

/// The claim through which the populator fills `claim`.
async fn prime_of(person: &Actor, claim: &Identity) -> Result<Identity, Error> {
    let name = format!("vs-prime-{}", claim.uid);
    let claims = person.within::<PersistentVolumeClaim>(&claim.namespace);
    let find =
        |all: &[Arc<PersistentVolumeClaim>]| all.iter().find(|one| one.name_any() == name).cloned();
    let all = until(claims, "the populator's claim", PATIENCE, |all| {
        find(all).is_some()
    })
    .await?;
    Ok(find(&all).map_or_else(|| claim.clone(), |prime| Identity::of(&*prime)))
}

/// Every source, and those whose claim is missing or being deleted, once VolSync reports the missing ones.
async fn judged_sources(
    cast: &Cast,
    person: &Actor,
) -> Result<(Vec<Identity>, Vec<Identity>), Error> {
    let of_app = |app: &App, source: &ReplicationSource| {
        source.namespace().as_ref() == Some(&app.namespace)
            && app.sources.contains(&source.name_any())
    };
    let in_error = |source: &ReplicationSource| {
        let conditions = source.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|condition| condition.reason == "Error")
    };
    let all = until(
        person.all::<ReplicationSource>(),
        "sources of a claim that is gone",
        PATIENCE,
        |all| {
            let gone = all
                .iter()
                .filter(|one| of_app(&cast.gone, one) && in_error(one));
            gone.count() == cast.gone.sources.len()
        },
    )
    .await?;
    let identities = |of: &dyn Fn(&ReplicationSource) -> bool| {
        let mut found: Vec<_> = all
            .iter()
            .filter(|one| of(one))
            .map(|one| Identity::of(&**one))
            .collect();
        found.sort();
        found
    };
    let sources = identities(&|one| cast.all().any(|app| of_app(app, one)));
    let orphaned = identities(&|one| cast.undeployed().iter().any(|app| of_app(app, one)));
    Ok((sources, orphaned))
}

fn is_refused(snapshot: &VolumeSnapshot) -> bool {
    let error = snapshot
        .status
        .as_ref()
        .and_then(|status| status.error.as_ref());
    error
        .and_then(|error| error.message.as_deref())
        .is_some_and(is_lock)
}

fn refuses(event: &Event, claim: &Identity) -> bool {
    event.involved_object.uid.as_ref() == Some(&claim.uid)
        && event.reason.as_deref() == Some("ProvisioningFailed")
        && event.message.as_deref().is_some_and(is_lock)
}

fn is_lock(message: &str) -> bool {
    message.contains("an operation with the given Volume ID") && message.contains("already exists")
}
