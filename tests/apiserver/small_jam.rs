//! A jam of few objects that can be made again and again: one app with two stuck backups, one restore that is refused.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::{ReplicationDestination, ReplicationSource};
use locksmith::demo::scenario::{App, MANAGER, Restore, namespaces};
use locksmith::demo::world::Scope;

use crate::stage::Stage;

const APPS: &str = "media";

pub struct SmallJam<'s> {
    stage: &'s Stage,
    stuck: App,
    image: String,
}

impl<'s> SmallJam<'s> {
    /// Everything healthy: the apps backed up, and a snapshot to restore from.
    pub async fn prepare(stage: &'s Stage) -> Self {
        let person = stage.world.person(MANAGER);
        stage.world.install().await.unwrap();
        namespaces(&person, &[APPS]).await.unwrap();
        let stuck = App::new(APPS, "prowlarr").twice();
        let stopped = App::new(APPS, "atuin").stopped();
        let restored = App::new(APPS, "sonarr");
        for app in [&stuck, &stopped] {
            app.deploy(&person, &app.claim()).await.unwrap();
            app.back_up(&person, Timestamp::now()).await.unwrap();
        }
        person
            .create(&person.within(APPS), &restored.destination())
            .await
            .unwrap();
        let image = |one: &Arc<ReplicationDestination>| {
            Some(one.status.as_ref()?.latest_image.as_ref()?.name.clone())
        };
        let found = stage
            .until::<ReplicationDestination>("an image", |all| all.iter().find_map(image).is_some())
            .await;
        let image = found.iter().find_map(image).unwrap();
        stage
            .until::<VolumeSnapshot>("the image to be ready", |all| {
                all.iter()
                    .any(|one| one.name_any() == image && is_ready(one))
            })
            .await;
        Self {
            stage,
            stuck,
            image,
        }
    }

    /// The jam, once more. Gives the uids of the snapshots that are stuck.
    pub async fn again(&self, number: usize) -> Vec<String> {
        let Self {
            stage,
            stuck,
            image,
        } = self;
        let person = stage.world.person(MANAGER);
        self.idle().await;
        stage.world.ceph().sicken(Scope::All);
        stuck.begin_sync(&person).await.unwrap();
        let restored = App::new(APPS, &format!("sonarr-{number}"));
        let claim = restored.restored_claim(&Restore::Snapshot(image.clone()));
        restored.deploy(&person, &claim).await.unwrap();
        let refused = |all: &[Arc<VolumeSnapshot>]| -> Vec<String> {
            all.iter()
                .filter(|one| is_refused(one))
                .filter_map(|one| one.uid())
                .collect()
        };
        let all = stage
            .until::<VolumeSnapshot>("backups to be stuck", |all| {
                refused(all).len() == stuck.sources.len()
            })
            .await;
        stage
            .until::<Event>("a restore to be refused", |all| {
                all.iter().any(|one| {
                    one.involved_object.name.as_ref() == Some(&restored.name)
                        && one.message.as_deref().is_some_and(is_lock)
                })
            })
            .await;
        stage.world.ceph().heal();
        refused(&all)
    }

    /// Waits until nothing is under way.
    async fn idle(&self) {
        let stage = self.stage;
        stage
            .until::<ReplicationSource>("backups to be over", |all| {
                all.iter().all(|one| {
                    one.status
                        .as_ref()
                        .is_some_and(|status| status.last_sync_start_time.is_none())
                })
            })
            .await;
        stage
            .until::<VolumeSnapshot>("no snapshot but images", |all| {
                all.iter()
                    .all(|one| is_ready(one) && !one.name_any().ends_with("-src"))
            })
            .await;
        stage
            .until::<PersistentVolumeClaim>("every claim to be bound", |all| {
                all.iter().all(|one| {
                    one.status
                        .as_ref()
                        .and_then(|status| status.phase.as_deref())
                        == Some("Bound")
                        && one.metadata.deletion_timestamp.is_none()
                })
            })
            .await;
        stage
            .until::<Pod>("every pod to run", |all| {
                all.iter().all(|one| {
                    one.status
                        .as_ref()
                        .and_then(|status| status.phase.as_deref())
                        == Some("Running")
                })
            })
            .await;
    }
}

fn is_ready(one: &VolumeSnapshot) -> bool {
    one.status.as_ref().and_then(|status| status.ready_to_use) == Some(true)
}

fn is_refused(one: &VolumeSnapshot) -> bool {
    let error = one.status.as_ref().and_then(|status| status.error.as_ref());
    error
        .and_then(|error| error.message.as_deref())
        .is_some_and(is_lock)
}

fn is_lock(message: &str) -> bool {
    message.contains("an operation with the given") && message.contains("already exists")
}
