//! The state the playbook was written for: sources of deleted claims, snapshots that never become ready,
//! restores that are refused, because driver processes hold locks.
//!
//! Everything healthy comes first. Then the backend falls sick, backups and restores run into it, and
//! their calls never return. Once the jam stands the backend is healthy again, unless it is to stay sick:
//! what remains are the locks of the old processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::app::{App, Restore};
use super::wait::until;
use super::{Error, Identity, MANAGER, namespaces};
use crate::api::snapshot::VolumeSnapshot;
use crate::api::volsync::{ReplicationDestination, ReplicationSource, temporary_name};
use crate::demo::world::{Actor, Scope, World};

/// Every stage takes seconds with fast timings; a loaded machine gets this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The jam, for assertions and for whoever tells its story.
#[derive(Clone, Debug)]
pub struct Jam {
    /// Every ReplicationSource.
    pub sources: Vec<Identity>,
    /// Those whose claim is gone, or going.
    pub orphaned: Vec<Identity>,
    /// Snapshots whose creation the driver refuses.
    pub stuck_snapshots: Vec<Identity>,
    /// Claims whose restore the driver refuses.
    pub pending: Vec<Pending>,
    /// The claim that was deleted while a stuck snapshot is taken from it.
    pub terminating: Identity,
    /// Apps that are deployed and scaled to nothing.
    pub stopped: Vec<App>,
    /// Apps whose Pods run.
    pub running: Vec<App>,
}

/// A claim that waits for its data.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The claim of the app.
    pub claim: Identity,
    /// The claim the driver refuses a volume: the same, or the populator's `vs-prime-…`.
    pub refused: Identity,
    /// How it is restored.
    pub restore: Restore,
}

/// Who plays which part.
struct Cast {
    healthy: Vec<App>,
    stuck: Vec<App>,
    /// Backed up, but its claim is deleted while the snapshot of it is stuck.
    leaving: App,
    gone: App,
    restoring: Vec<(App, bool)>,
}

fn cast() -> Cast {
    let app = App::new;
    Cast {
        healthy: vec![
            app("media", "bazarr").size("1Gi"),
            app("media", "qbittorrent"),
            app("media", "plex").size("20Gi"),
            app("ai", "litellm").twice().stopped(),
            app("home-automation", "esphome").size("1Gi"),
            app("home-automation", "node-red"),
            app("selfhosted", "mealie"),
            app("selfhosted", "atuin").size("1Gi").stopped(),
        ],
        stuck: vec![
            app("media", "prowlarr").twice(),
            app("home-automation", "home-assistant").size("10Gi"),
            app("selfhosted", "vaultwarden").size("1Gi"),
        ],
        leaving: app("media", "readarr"),
        gone: app("ai", "archon").twice(),
        restoring: vec![
            (app("media", "sonarr"), false),
            (app("media", "radarr"), false),
            (app("home-automation", "zigbee2mqtt").size("1Gi"), false),
            (app("selfhosted", "paperless").size("20Gi"), true),
        ],
    }
}

impl Cast {
    fn all(&self) -> impl Iterator<Item = &App> {
        let restoring = self.restoring.iter().map(|(app, _)| app);
        self.healthy
            .iter()
            .chain(&self.stuck)
            .chain([&self.leaving, &self.gone])
            .chain(restoring)
    }

    /// Those with a claim in the healthy beginning; the app of `gone` and `leaving` are undeployed already.
    fn deployed(&self) -> impl Iterator<Item = &App> {
        self.healthy.iter().chain(&self.stuck)
    }

    fn is_source_of(apps: &[&App], source: &ReplicationSource) -> bool {
        let namespace = source.namespace().unwrap_or_default();
        apps.iter()
            .any(|app| app.namespace == namespace && app.sources.contains(&source.name_any()))
    }
}

/// Leads `world` into the jam; `stays_sick` leaves the backend so that a restart helps nothing.
pub async fn playbook_jam(world: &World, stays_sick: bool) -> Result<Jam, Error> {
    let cast = cast();
    let person = world.person(MANAGER);
    world.install().await?;
    namespaces(&person, &["media", "ai", "home-automation", "selfhosted"]).await?;
    build(&cast, &person).await?;

    world.ceph().sicken(Scope::All);
    for app in cast.stuck.iter().chain([&cast.leaving, &cast.gone]) {
        app.begin_sync(&person).await?;
    }
    let restores = restore(&cast, &person).await?;
    let stuck_snapshots = stuck_snapshots(&cast, &person).await?;
    let pending = refused_claims(&person, restores).await?;
    let terminating = delete_leaving(&cast.leaving, &person).await?;
    let (sources, orphaned) = judged_sources(&cast, &person).await?;
    if !stays_sick {
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

/// The healthy beginning: volumes bound, apps running, images to restore from ready, one claim gone.
async fn build(cast: &Cast, person: &Actor) -> Result<(), Error> {
    let synced = Timestamp::now();
    for (app, _) in &cast.restoring {
        person
            .create(&person.within(&app.namespace), &app.destination())
            .await?;
    }
    for app in cast.deployed() {
        app.deploy(person, &app.claim()).await?;
    }
    for app in [&cast.leaving, &cast.gone] {
        person
            .create(&person.within(&app.namespace), &app.claim())
            .await?;
    }
    for app in cast.all() {
        app.back_up(person, synced).await?;
    }
    let restored = |destination: &ReplicationDestination| {
        destination
            .status
            .as_ref()
            .is_some_and(|status| status.latest_image.is_some())
    };
    let images = cast.restoring.len();
    until(
        person.all::<ReplicationDestination>(),
        "images to restore from",
        PATIENCE,
        |all| all.iter().filter(|one| restored(one)).count() == images,
    )
    .await?;
    until(
        person.all::<VolumeSnapshot>(),
        "images to be ready",
        PATIENCE,
        |all| all.iter().filter(|one| is_ready(one)).count() == images,
    )
    .await?;
    let claims = cast.deployed().count() + [&cast.leaving, &cast.gone].len() + images;
    until(
        person.all::<PersistentVolumeClaim>(),
        "every claim to be bound",
        PATIENCE,
        |all| {
            all.iter()
                .filter(|claim| phase(claim) == Some("Bound"))
                .count()
                == claims
        },
    )
    .await?;
    let running: BTreeSet<_> = cast
        .deployed()
        .filter(|app| app.running)
        .map(|app| app.name.clone())
        .collect();
    until(person.all::<Pod>(), "the apps to run", PATIENCE, |pods| {
        let up = pods
            .iter()
            .filter(|pod| pod_runs(pod))
            .filter_map(|pod| pod.labels().get("app.kubernetes.io/name"));
        up.cloned().collect::<BTreeSet<_>>() == running
    })
    .await?;
    let claims = person.within::<PersistentVolumeClaim>(&cast.gone.namespace);
    let claim = claims.get(&cast.gone.name).await?;
    person.delete(&claims, &cast.gone.name, claim.uid()).await?;
    let uid = claim.uid();
    // The backend has to be done with it before it falls sick.
    until(
        person.all::<PersistentVolume>(),
        "the deleted claim's volume to go",
        PATIENCE,
        |volumes| {
            volumes.iter().all(|volume| {
                let claim = volume
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.claim_ref.as_ref());
                claim.is_none_or(|claim| claim.uid != uid)
            })
        },
    )
    .await?;
    Ok(())
}

/// Deploys the apps whose data comes from a backup.
async fn restore(cast: &Cast, person: &Actor) -> Result<Vec<(App, Restore)>, Error> {
    let mut restores = Vec::new();
    for (app, populated) in &cast.restoring {
        let from = if *populated {
            Restore::Destination
        } else {
            let destinations = person.within::<ReplicationDestination>(&app.namespace);
            let status = destinations.get(&app.destination_name()).await?.status;
            let image = status.and_then(|status| status.latest_image);
            Restore::Snapshot(image.map(|image| image.name).unwrap_or_default())
        };
        app.deploy(person, &app.restored_claim(&from)).await?;
        restores.push((app.clone(), from));
    }
    Ok(restores)
}

/// The snapshots of the stuck apps, once the driver refuses each.
async fn stuck_snapshots(cast: &Cast, person: &Actor) -> Result<Vec<Identity>, Error> {
    let apps = cast.stuck.iter().chain([&cast.leaving]);
    let wanted: Vec<_> = apps
        .flat_map(|app| {
            app.sources
                .iter()
                .map(|source| (app.namespace.clone(), temporary_name(source)))
        })
        .collect();
    let is_wanted = |one: &VolumeSnapshot| {
        wanted.iter().any(|(namespace, name)| {
            one.namespace().as_ref() == Some(namespace) && one.name_any() == *name
        })
    };
    let snapshots = until(
        person.all::<VolumeSnapshot>(),
        "the stuck snapshots",
        PATIENCE,
        |all| {
            all.iter()
                .filter(|one| is_wanted(one) && is_refused(one))
                .count()
                == wanted.len()
        },
    )
    .await?;
    let mut stuck: Vec<_> = snapshots
        .iter()
        .filter(|one| is_wanted(one))
        .map(|one| Identity::of(&**one))
        .collect();
    stuck.sort();
    Ok(stuck)
}

/// The claims being restored, once the driver refuses each.
async fn refused_claims(
    person: &Actor,
    restores: Vec<(App, Restore)>,
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
    until(
        person.all::<Event>(),
        "the refused restores",
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

/// The claim that the populator made for `claim`.
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

/// Deletes the claim of the app that leaves: the stuck snapshot holds on to it.
async fn delete_leaving(app: &App, person: &Actor) -> Result<Identity, Error> {
    let claims = person.within::<PersistentVolumeClaim>(&app.namespace);
    let claim = claims.get(&app.name).await?;
    person.delete(&claims, &app.name, claim.uid()).await?;
    Ok(Identity::of(&claim))
}

/// Every source, and those whose claim is gone or going, once VolSync has said so of the former.
async fn judged_sources(
    cast: &Cast,
    person: &Actor,
) -> Result<(Vec<Identity>, Vec<Identity>), Error> {
    let in_error = |source: &ReplicationSource| {
        let conditions = source.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|condition| condition.reason == "Error")
    };
    let sources = until(
        person.all::<ReplicationSource>(),
        "sources of a claim that is gone",
        PATIENCE,
        |all| {
            let gone: Vec<_> = all
                .iter()
                .filter(|one| Cast::is_source_of(&[&cast.gone], one))
                .collect();
            gone.len() == cast.gone.sources.len() && gone.iter().all(|one| in_error(one))
        },
    )
    .await?;
    let orphaned = sources
        .iter()
        .filter(|one| Cast::is_source_of(&[&cast.gone, &cast.leaving], one));
    let mut orphaned: Vec<_> = orphaned.map(|one| Identity::of(&**one)).collect();
    let mut sources: Vec<_> = sources.iter().map(|one| Identity::of(&**one)).collect();
    orphaned.sort();
    sources.sort();
    Ok((sources, orphaned))
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot
        .status
        .as_ref()
        .and_then(|status| status.ready_to_use)
        == Some(true)
}

fn is_refused(snapshot: &VolumeSnapshot) -> bool {
    let error = snapshot
        .status
        .as_ref()
        .and_then(|status| status.error.as_ref());
    let message = error.and_then(|error| error.message.as_deref());
    message.is_some_and(|message| message.contains("already exists"))
}

fn refuses(event: &Event, claim: &Identity) -> bool {
    event.involved_object.uid.as_ref() == Some(&claim.uid)
        && event.reason.as_deref() == Some("ProvisioningFailed")
        && event
            .message
            .as_deref()
            .is_some_and(|message| message.contains("already exists"))
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

fn pod_runs(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        == Some("Running")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cast_is_the_playbooks() {
        let cast = cast();
        let sources: BTreeSet<_> = cast
            .all()
            .flat_map(|app| {
                app.sources
                    .iter()
                    .map(|source| (app.namespace.as_str(), source))
            })
            .collect();
        assert_eq!(sources.len(), 20);
        let of_ai: Vec<_> = sources
            .iter()
            .filter(|(namespace, _)| *namespace == "ai")
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(of_ai, ["archon", "archon-r2", "litellm", "litellm-r2"]);
        let stuck: usize = cast
            .stuck
            .iter()
            .chain([&cast.leaving])
            .map(|app| app.sources.len())
            .sum();
        assert_eq!(stuck, 5);
        assert_eq!(cast.gone.sources.len() + cast.leaving.sources.len(), 3);
        assert_eq!(cast.restoring.len(), 4);
    }
}
