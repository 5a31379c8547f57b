//! A control plane with a simulated world, for the tests of that world.

use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use locksmith::demo::scenario::{App, MANAGER};
use locksmith::demo::world::{Actor, Timings, World, WorldConfig, provisioner_deployment};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

use crate::testbed::PooledTestbed;

/// Time limit for each action of the actors on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A testbed and the world on it.
pub struct Ground {
    pub testbed: PooledTestbed,
    pub world: World,
}

impl Ground {
    /// A separate world, for a test that breaks the backend or restarts the provisioner.
    pub async fn start(config: WorldConfig) -> Self {
        let testbed = Box::pin(PooledTestbed::take()).await;
        let world = World::start(testbed.client(), config)
            .await
            .expect("the world starts");
        world.install().await.expect("the world is installed");
        Self { testbed, world }
    }

    /// A shared healthy world for all tests that use a namespace of their own.
    ///
    /// Its actors outlive the runtime of the first test.
    pub async fn shared() -> &'static Self {
        static RUNTIME: OnceLock<Runtime> = OnceLock::new();
        static SHARED: OnceCell<Ground> = OnceCell::const_new();
        let runtime = RUNTIME.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime")
        });
        let start = || runtime.spawn(Self::start(WorldConfig::new(Timings::fast())));
        SHARED
            .get_or_init(|| async { start().await.expect("the shared world starts") })
            .await
    }

    /// An actor that writes as Flux, with a client on the calling test's runtime.
    pub fn person(&self) -> Actor {
        Actor::new(self.testbed.client(), MANAGER)
    }

    /// An app `name` with a Bound claim, in a new namespace.
    pub async fn app(&self, name: &str) -> App {
        let app = App::new(&self.testbed.namespace(name).await, name);
        let created = self.person().create(&self.claims(&app), &app.claim()).await;
        created.expect("the claim is created");
        self.bound(&app, &app.name).await;
        app
    }

    /// Waits until the claim `name` in the namespace of `app` is bound.
    pub async fn bound(&self, app: &App, name: &str) -> PersistentVolumeClaim {
        let claim = self.testbed.until(self.claims(app), name, is_bound).await;
        claim.expect("a bound claim is there")
    }

    pub fn claims(&self, app: &App) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.testbed.client(), &app.namespace)
    }

    /// Deletes the provisioner's Pods, as the step does for a Deployment of an operator.
    pub async fn delete_provisioner(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.testbed.client(), &self.world.config().namespace);
        let app = format!("app={}", provisioner_deployment(self.world.config()));
        let old = pods
            .list(&ListParams::default().labels(&app))
            .await
            .expect("the provisioner's pods");
        for pod in &old {
            let deleted = self
                .person()
                .delete(&pods, &pod.name_any(), pod.uid())
                .await;
            deleted.expect("a pod is deleted");
        }
        old.iter().map(ResourceExt::name_any).collect()
    }
}

/// Whether the claim is bound to a volume.
pub fn is_bound(claim: Option<&PersistentVolumeClaim>) -> bool {
    claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
}
