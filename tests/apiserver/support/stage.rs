//! The jam of the playbook on a control plane, and the program under its own user.

mod holds;
mod requests;
mod settings;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Patch, PatchParams};
use kube::{Api, CustomResourceExt, Resource, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Remediation, RemediationStatus};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::demo::scenario::{self, Jam, Outage, playbook_jam};
use locksmith::demo::world::World;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::render;
use crate::support::daemon::Daemon;
use crate::testbed::{Identity, Options, PooledTestbed, Testbed};

pub use holds::install_policy;
pub use requests::lacks_right;
pub use settings::{Rights, Settings, Setup};

/// A whole run takes some 10 s on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Namespace of the Remediations and the Lease.
pub const NAMESPACE: &str = crate::render::NAMESPACE;

/// The driver of the world.
pub const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// User of the program with all rights.
pub const USER: &str = "locksmith-daemon";

/// A jammed cluster. Fields are dropped in order, so the world ends first.
pub struct Stage {
    pub world: World,
    pub jam: Jam,
    pub testbed: PooledTestbed,
    /// User of the program in the audit log.
    pub user: String,
    daemon: Identity,
}

impl Stage {
    /// The jam of the playbook.
    pub async fn jammed() -> Self {
        Self::jammed_with(Setup::default()).await
    }

    /// The jam in a cluster set up as given.
    pub async fn jammed_with(setup: Setup) -> Self {
        let mut crds = setup.others;
        crds.extend(setup.sources);
        let testbed = if crds.is_empty() {
            Box::pin(PooledTestbed::take()).await
        } else {
            crds.extend([Remediation::crd(), SnapshotHold::crd()]);
            let options = Options {
                crds,
                ..Options::default()
            };
            Box::pin(PooledTestbed::dedicated(options)).await
        };
        let namespace = named::<Namespace>(json!({"name": NAMESPACE}), json!({}));
        let namespaces: Api<Namespace> = Api::all(testbed.client());
        namespaces
            .create(&Default::default(), &namespace)
            .await
            .unwrap();
        if setup.policy {
            install_policy(&testbed.client()).await;
        }
        let world = World::start(testbed.client(), setup.world).await.unwrap();
        let jam = playbook_jam(&world, Outage::Over).await.unwrap();
        let (user, daemon) = match setup.rights {
            Rights::All => cluster_admin(&testbed).await,
            Rights::Installed(mode) => installed(&testbed, mode).await,
        };
        Self {
            world,
            jam,
            testbed,
            user,
            daemon,
        }
    }

    /// The program's identity at the API server.
    pub fn user(&self) -> &Identity {
        &self.daemon
    }

    /// The program as its own user, once it has observed the whole jam and, unless it only observes, leads.
    pub async fn daemon(&self, settings: &Settings) -> Daemon {
        self.daemon_as(&self.daemon, settings, &[]).await
    }

    /// The same as another user, with additional environment variables.
    pub async fn daemon_as(
        &self,
        user: &Identity,
        settings: &Settings,
        variables: &[(&str, &OsStr)],
    ) -> Daemon {
        let daemon = Daemon::launch(
            "locksmith-0",
            user.kubeconfig(),
            &settings.yaml(),
            variables,
        )
        .await;
        let count = |finding: &str, reason: &str| {
            format!("locksmith_stuck_operations{{finding=\"{finding}\",reason=\"{reason}\"")
        };
        let mut wanted = vec![
            (count("orphaned_source", "claim_missing"), 2.0),
            (count("orphaned_source", "claim_terminating"), 1.0),
            (count("failed_snapshot", "operation_lock"), 5.0),
            (count("pending_claim", "operation_lock"), 4.0),
        ];
        if settings.mode != "observe" {
            wanted.push(("locksmith_leader".to_owned(), 1.0));
        }
        daemon
            .until("the whole jam to be seen", |samples| {
                wanted.iter().all(|(prefix, expected)| {
                    let of_it = samples.iter().filter(|(name, _)| name.starts_with(prefix));
                    (of_it.map(|(_, value)| value).sum::<f64>() - expected).abs() < f64::EPSILON
                })
            })
            .await;
        daemon
    }

    /// A second replica under the same account, which observes everything and does not lead.
    pub async fn standby(&self, settings: &Settings) -> Daemon {
        let kubeconfig = self.daemon.kubeconfig();
        let standby = Daemon::replica("locksmith-1", kubeconfig, &settings.yaml()).await;
        standby
            .until("the second replica to see everything", |samples| {
                samples["locksmith_observation_complete"] > 0.0
            })
            .await;
        standby
    }

    /// Makes the playbook's alert fire; a Remediation is recorded when this returns.
    pub async fn fire(&self, daemon: &Daemon) {
        let (code, answer) = daemon
            .fire("LocksmithOperationLocked", &[("driver", DRIVER)])
            .await;
        assert_eq!(code, 202, "{answer}");
    }

    /// The only Remediation, once `wanted` accepts its status.
    pub async fn run_until(
        &self,
        what: &str,
        wanted: impl Fn(&RemediationStatus) -> bool,
    ) -> RemediationStatus {
        let is = |run: &Arc<Remediation>| run.status.as_ref().is_some_and(&wanted);
        let runs = self
            .until::<Remediation>(what, |runs| runs.first().is_some_and(is))
            .await;
        assert_eq!(runs.len(), 1);
        runs[0].status.clone().unwrap()
    }

    /// The run of that playbook, once `wanted` accepts its status; there may be others.
    pub async fn run_of(
        &self,
        playbook: &str,
        what: &str,
        wanted: impl Fn(&RemediationStatus) -> bool,
    ) -> Remediation {
        let is = |run: &Arc<Remediation>| {
            run.spec.playbook == playbook && run.status.as_ref().is_some_and(&wanted)
        };
        let runs = self
            .until::<Remediation>(what, |runs| runs.iter().any(is))
            .await;
        let run = runs.iter().find(|run| is(run)).unwrap();
        Remediation::clone(run)
    }

    /// The status of the only Remediation, once it has finished.
    pub async fn finished(&self) -> RemediationStatus {
        self.finished_within(PATIENCE).await
    }

    /// The same, for a run that is delayed.
    pub async fn finished_within(&self, limit: Duration) -> RemediationStatus {
        let over = |run: &Arc<Remediation>| {
            let status = run.status.as_ref();
            status.is_some_and(|status| status.phase.finished())
        };
        let runs: Api<Remediation> = Api::all(self.testbed.client());
        let ended = scenario::until(runs, "a run to be over", limit, |runs| {
            runs.first().is_some_and(over)
        });
        let Ok(runs) = ended.await else {
            panic!(
                "not over within {limit:?}: {:#?}",
                self.list::<Remediation>().await
            );
        };
        assert_eq!(runs.len(), 1);
        runs[0].status.clone().unwrap()
    }

    /// Asserts that all pending restores are Bound, by uid.
    pub async fn pending_are_bound(&self) {
        for pending in &self.jam.pending {
            let claims = self.api::<PersistentVolumeClaim>(&pending.claim.namespace);
            let claim = claims.get(&pending.claim.name).await.unwrap();
            assert_eq!(claim.uid().as_deref(), Some(&*pending.claim.uid));
            assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
        }
    }

    /// All objects of a kind, once `wanted` accepts them.
    pub async fn until<K>(&self, what: &str, wanted: impl FnMut(&[Arc<K>]) -> bool) -> Vec<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
        K: Send + Sync + 'static,
    {
        scenario::until(Api::all(self.testbed.client()), what, PATIENCE, wanted)
            .await
            .unwrap()
    }

    /// Changes an object as a person.
    pub async fn patch<K>(&self, namespace: &str, name: &str, patch: &Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let person = PatchParams {
            field_manager: Some("kubectl-patch".to_owned()),
            ..PatchParams::default()
        };
        self.api::<K>(namespace)
            .patch(name, &person, &Patch::Merge(patch))
            .await
            .unwrap()
    }

    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.testbed.client(), namespace)
    }

    pub async fn list<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let all: Api<K> = Api::all(self.testbed.client());
        all.list(&Default::default()).await.unwrap().items
    }

    /// Deletes the only Remediation, as a person.
    pub async fn forget_run(&self) {
        let runs = self.list::<Remediation>().await;
        assert_eq!(runs.len(), 1);
        let api = self.api::<Remediation>(NAMESPACE);
        api.delete(&runs[0].name_any(), &Default::default())
            .await
            .unwrap();
    }

    /// Whether all snapshots of the jam are unchanged, and not being deleted.
    pub async fn failed_snapshots_are_untouched(&self) -> bool {
        let snapshots = self.list::<VolumeSnapshot>().await;
        self.jam.stuck_snapshots.iter().all(|stuck| {
            snapshots.iter().any(|one| {
                one.uid().as_ref() == Some(&stuck.uid) && one.metadata.deletion_timestamp.is_none()
            })
        })
    }
}

/// A user bound to cluster-admin.
async fn cluster_admin(testbed: &Testbed) -> (String, Identity) {
    let binding = named::<ClusterRoleBinding>(
        json!({"name": USER}),
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }),
    );
    let bindings: Api<ClusterRoleBinding> = Api::all(testbed.client());
    bindings
        .create(&Default::default(), &binding)
        .await
        .unwrap();
    (USER.to_owned(), testbed.user(USER, None).await)
}

/// The account that is installed for `mode`, with its roles.
pub async fn installed(testbed: &Testbed, mode: &str) -> (String, Identity) {
    let mut objects = render::objects(&render::kustomize(&format!("deploy/overlays/{mode}")));
    objects.retain(render::gives_rights);
    render::apply(testbed.kubeconfig(), &objects);
    let account = "locksmith";
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    (user, testbed.service_account(NAMESPACE, account).await)
}

/// An object with these `metadata` and fields.
pub fn named<K: DeserializeOwned>(metadata: Value, mut fields: Value) -> K {
    fields["metadata"] = metadata;
    serde_json::from_value(fields).unwrap()
}
