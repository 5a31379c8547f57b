//! external-provisioner: creates PersistentVolumes for pending claims, and deletes released volumes.
//!
//! Each claim is retried with backoff, with an Event for each attempt. Once a call was left open (Aborted,
//! DeadlineExceeded), the claim is pursued even after its deletion, until the driver returns a final answer or the process
//! ends (`claimsInProgress` of sig-storage-lib-external-provisioner).

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::controller::Action;
use kube::runtime::watcher::{Event, watcher};
use kube::runtime::{Controller, WatchStreamExt};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::outcome::Failure;
use super::source::{self, Source};
use super::volume;
use crate::actor::Actor;
use crate::ceph::{CreateVolume, Driver, Status};
use crate::config::WorldConfig;
use crate::control::{control, is_absent, watching};
use crate::events::{Recorder, Severity};
use crate::names::{PROVISIONER_CONTAINER, SELECTED_NODE, STORAGE_PROVISIONER};

/// One leading sidecar.
#[derive(Clone, Debug)]
pub(super) struct Provisioner(Arc<Context>);

#[derive(Debug)]
struct Context {
    actor: Actor,
    recorder: Recorder,
    driver: Arc<Driver>,
    config: WorldConfig,
}

/// A claim being provisioned.
#[derive(Debug)]
struct Pursued {
    latest: watch::Sender<Seen>,
    task: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
struct Seen {
    claim: PersistentVolumeClaim,
    deleted: bool,
}

impl Provisioner {
    /// A sidecar in the Pod `identity`, calling the `driver` beside it.
    pub(super) fn new(
        client: &Client,
        config: &WorldConfig,
        identity: &str,
        driver: &Arc<Driver>,
    ) -> Self {
        let actor = Actor::new(client.clone(), PROVISIONER_CONTAINER);
        let recorder = Recorder::new(actor.clone(), format!("{}_{identity}", config.driver));
        Self(Arc::new(Context {
            actor,
            recorder,
            driver: Arc::clone(driver),
            config: config.clone(),
        }))
    }

    /// Runs until dropped.
    pub(super) async fn run(self) {
        let volumes = Controller::new(self.0.actor.all::<PersistentVolume>(), watching());
        let retry = self.0.config.timings.provision_retry;
        tokio::join!(
            self.claims(),
            control(volumes, self.clone(), retry, reclaim)
        );
    }

    async fn claims(&self) {
        let mut claims = watcher(self.0.actor.all::<PersistentVolumeClaim>(), watching())
            .default_backoff()
            .boxed();
        let mut pursued: HashMap<String, Pursued> = HashMap::new();
        while let Some(event) = claims.next().await {
            match event {
                Ok(Event::Apply(claim) | Event::InitApply(claim)) => self.see(&mut pursued, claim),
                Ok(Event::Delete(claim)) => {
                    let seen = pursued.get(&claim.uid().unwrap_or_default());
                    seen.inspect(|pursued| pursued.latest.send_modify(|seen| seen.deleted = true));
                }
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "watch of claims interrupted"),
            }
        }
    }

    fn see(&self, pursued: &mut HashMap<String, Pursued>, claim: PersistentVolumeClaim) {
        let uid = claim.uid().unwrap_or_default();
        let wanted = self.wants(&claim);
        let seen = Seen {
            claim,
            deleted: false,
        };
        match pursued.get(&uid) {
            Some(running) if !running.task.is_finished() => drop(running.latest.send_replace(seen)),
            Some(_) | None if wanted => {
                let (latest, current) = watch::channel(seen);
                let task = AbortOnDropHandle::new(tokio::spawn(self.clone().pursue(current)));
                pursued.insert(uid, Pursued { latest, task });
            }
            Some(_) | None => drop(pursued.remove(&uid)),
        }
    }

    /// Whether the controller manager has delegated the claim to this driver, and it has no volume yet.
    fn wants(&self, claim: &PersistentVolumeClaim) -> bool {
        let unbound = claim
            .spec
            .as_ref()
            .is_some_and(|spec| spec.volume_name.as_deref().unwrap_or_default().is_empty());
        unbound && claim.annotations().get(STORAGE_PROVISIONER) == Some(&self.0.config.driver)
    }

    async fn pursue(self, current: watch::Receiver<Seen>) {
        let retry = self.0.config.timings.provision_retry;
        let mut open = false;
        for failures in 1.. {
            let Seen { claim, deleted } = current.borrow().clone();
            if !self.wants(&claim) || (deleted && !open) {
                return;
            }
            let Err(failure) = self.provision(&claim).await else {
                return;
            };
            open = failure.in_background().unwrap_or(open);
            let class = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.storage_class_name.as_deref())
                .unwrap_or_default();
            let message = failure.message(self.0.config.messages, class);
            self.say(&claim, Severity::Warning, "ProvisioningFailed", &message)
                .await;
            tokio::time::sleep(retry.after(failures)).await;
        }
    }

    /// One attempt.
    async fn provision(&self, claim: &PersistentVolumeClaim) -> Result<(), Failure> {
        let Context { actor, driver, .. } = &*self.0;
        let volumes: Api<PersistentVolume> = actor.all();
        let name = volume::name(claim);
        if volumes.get_opt(&name).await?.is_some() {
            return Ok(());
        }
        let classes: Api<StorageClass> = actor.all();
        let class = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.storage_class_name.as_deref())
            .unwrap_or_default();
        let class = classes.get(class).await?;
        if waits_for_consumer(&class) && !claim.annotations().contains_key(SELECTED_NODE) {
            return Ok(());
        }
        let namespace = claim.namespace().unwrap_or_default();
        let source = source::source(claim);
        if source == Source::Populator {
            let message = "Assuming an external populator will provision the volume";
            self.say(claim, Severity::Normal, "Provisioning", message)
                .await;
            return Ok(());
        }
        let provisioning = format!(
            "External provisioner is provisioning volume for claim \"{namespace}/{}\"",
            claim.name_any()
        );
        self.say(claim, Severity::Normal, "Provisioning", &provisioning)
            .await;
        let snapshot = match source {
            Source::Snapshot(name) => Some(source::handle(actor, &namespace, &name).await?),
            Source::Empty | Source::Populator => None,
        };
        let request = CreateVolume {
            name: name.clone(),
            bytes: volume::requested(claim),
            snapshot,
        };
        let image = driver.create_volume(request).await?;
        actor
            .create(&volumes, &volume::of(claim, &class, &image))
            .await?;
        let succeeded = format!("Successfully provisioned volume {name}");
        self.say(claim, Severity::Normal, "ProvisioningSucceeded", &succeeded)
            .await;
        Ok(())
    }

    async fn say(
        &self,
        claim: &PersistentVolumeClaim,
        severity: Severity,
        reason: &'static str,
        message: &str,
    ) {
        self.0
            .recorder
            .say(claim.object_ref(&()), severity, reason, message)
            .await;
    }
}

fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Deletes a released volume, in the backend first.
async fn reclaim(
    volume: Arc<PersistentVolume>,
    provisioner: Arc<Provisioner>,
) -> Result<Action, kube::Error> {
    let Context {
        actor,
        driver,
        recorder,
        config,
    } = &*provisioner.0;
    let Some(handle) = volume::released_handle(&volume, &config.driver) else {
        return Ok(Action::await_change());
    };
    if let Err(status) = driver.delete_volume(handle).await {
        return refused(recorder, &volume, &status, config).await;
    }
    match actor
        .delete(
            &actor.all::<PersistentVolume>(),
            &volume.name_any(),
            volume.uid(),
        )
        .await
    {
        Err(error) if !is_absent(&error) => Err(error),
        _ => Ok(Action::await_change()),
    }
}

async fn refused(
    recorder: &Recorder,
    volume: &PersistentVolume,
    status: &Status,
    config: &WorldConfig,
) -> Result<Action, kube::Error> {
    recorder
        .say(
            volume.object_ref(&()),
            Severity::Warning,
            "VolumeFailedDelete",
            &status.to_string(),
        )
        .await;
    Ok(Action::requeue(config.timings.provision_retry.most))
}
