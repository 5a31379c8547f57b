//! Random events in the cluster: the backend becomes sick again and again, so that backups and restores hang; people stop
//! runs, scale apps and delete claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use locksmith::api::STOP_ANNOTATION;
use locksmith::api::remediation::Remediation;
use locksmith::demo::scenario::{App, MANAGER};
use locksmith::demo::world::{Actor, Ceph, Scope};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::stage::{NAMESPACE, Stage};

/// Time between two events, in milliseconds.
const PAUSE: std::ops::Range<u64> = 500..6_000;
/// Time for which the backend is sick, in milliseconds: longer than the timeout of the driver's calls.
const SICK: std::ops::Range<u64> = 1_000..4_000;
/// Time for which a person stops all runs, in milliseconds.
const STOP: std::ops::Range<u64> = 500..4_000;

/// Generates events until it is ended.
pub struct Jams {
    count: Arc<AtomicUsize>,
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Jams {
    /// Starts generating events.
    pub fn start(stage: &Stage, chance: Rng) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let (over, ends) = watch::channel(false);
        let fate = Fate {
            person: stage.world.person(MANAGER),
            ceph: stage.world.ceph().clone(),
            apps: stage.jam.running.clone(),
            chance,
            count: count.clone(),
            restores: 0,
            ends,
        };
        Self {
            count,
            over,
            task: tokio::spawn(fate.go_on()),
        }
    }

    /// Number of jams.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends it, with a healthy backend and without a kill switch.
    pub async fn end(self, stage: &Stage) {
        self.over.send_replace(true);
        self.task.await.unwrap();
        stage.world.ceph().heal();
    }
}

struct Fate {
    person: Actor,
    ceph: Ceph,
    apps: Vec<App>,
    chance: Rng,
    count: Arc<AtomicUsize>,
    /// Number of created restores.
    restores: usize,
    ends: watch::Receiver<bool>,
}

impl Fate {
    async fn go_on(mut self) {
        while !self.after(PAUSE).await {
            // An action that is refused because of a fault or a race is skipped.
            let _ = match self.chance.u32(..10) {
                0..5 => self.jam().await,
                5 => self.stop().await,
                6 => self.abort().await,
                7 => self.forget().await,
                8 => self.scale().await,
                _ => self.give_up_restores().await,
            };
        }
        let _ = self.stopped(Value::Null).await;
    }

    /// Waits for a random time; returns whether to end.
    async fn after(&mut self, range: std::ops::Range<u64>) -> bool {
        let pause = Duration::from_millis(self.chance.u64(range));
        let ended = self.ends.wait_for(|over| *over);
        tokio::time::timeout(pause, ended).await.is_ok()
    }

    /// Starts backups and a restore while the backend hangs.
    async fn jam(&mut self) -> anyhow::Result<()> {
        self.ceph.sicken(Scope::All);
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut apps = self.apps.clone();
        self.chance.shuffle(&mut apps);
        for app in apps.iter().take(3) {
            app.begin_sync(&self.person).await?;
        }
        self.restores += 1;
        let claim = App::new("media", &format!("soak-{}", self.restores)).claim();
        let claims = self.person.within::<PersistentVolumeClaim>("media");
        self.person.create(&claims, &claim).await?;
        self.after(SICK).await;
        self.ceph.heal();
        Ok(())
    }

    /// Sets the kill switch for a while.
    async fn stop(&mut self) -> anyhow::Result<()> {
        self.stopped(json!("by a person")).await?;
        self.after(STOP).await;
        self.stopped(Value::Null).await
    }

    async fn stopped(&self, value: Value) -> anyhow::Result<()> {
        let namespaces = self.person.all::<Namespace>();
        let patch = json!({"metadata": {"annotations": {STOP_ANNOTATION: value}}});
        let patch = Patch::Merge(patch);
        namespaces
            .patch(NAMESPACE, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// A random run.
    async fn run(&mut self) -> anyhow::Result<(Api<Remediation>, Option<String>)> {
        let runs = self.person.within::<Remediation>(NAMESPACE);
        let all = runs.list(&Default::default()).await?.items;
        let chosen = self.chance.choice(&all).map(ResourceExt::name_any);
        Ok((runs, chosen))
    }

    async fn abort(&mut self) -> anyhow::Result<()> {
        if let (runs, Some(name)) = self.run().await? {
            let abort = Patch::Merge(json!({"spec": {"abort": true}}));
            runs.patch(&name, &PatchParams::default(), &abort).await?;
        }
        Ok(())
    }

    async fn forget(&mut self) -> anyhow::Result<()> {
        if let (runs, Some(name)) = self.run().await? {
            runs.delete(&name, &Default::default()).await?;
        }
        Ok(())
    }

    /// Scales an app to zero and back.
    async fn scale(&mut self) -> anyhow::Result<()> {
        let Some(app) = self.chance.choice(self.apps.clone()) else {
            return Ok(());
        };
        for replicas in [0, 1] {
            let deployments = self
                .person
                .within::<k8s_openapi::api::apps::v1::Deployment>(&app.namespace);
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            deployments
                .patch(&app.name, &PatchParams::default(), &patch)
                .await?;
            self.after(STOP).await;
        }
        Ok(())
    }

    /// Deletes the claims of pending restores.
    async fn give_up_restores(&mut self) -> anyhow::Result<()> {
        let claims = self.person.within::<PersistentVolumeClaim>("media");
        for number in 1..=self.restores {
            let name = format!("soak-{number}");
            if claims.get_opt(&name).await?.is_some() {
                claims.delete(&name, &Default::default()).await?;
            }
        }
        Ok(())
    }
}
