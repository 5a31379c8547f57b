//! The jam of the playbook, and which actions end it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use locksmith::api::snapshot::{
    BEING_CREATED, PVC_AS_SOURCE_FINALIZER, VolumeSnapshot, VolumeSnapshotContent,
};
use locksmith::api::volsync::{ReplicationSource, temporary_name};
use locksmith::demo::scenario::{Identity, Jam, Outage, Pending, Restore, playbook_jam, until};
use locksmith::demo::world::{
    IMMEDIATE_CLASS, Layout, ProvisionerMessages, Timings, WorldConfig, lease_names,
    provisioner_deployment,
};
use regex::Regex;

use crate::world::ground::{Ground, PATIENCE, is_bound};

struct Jammed {
    ground: Ground,
    jam: Jam,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn restart_ends_the_jam() {
    let jammed = Jammed::start(WorldConfig::new(Timings::fast()), Outage::Over).await;
    let jam = &jammed.jam;
    assert_eq!((jam.sources.len(), jam.orphaned.len()), (20, 3));
    assert_eq!((jam.stuck_snapshots.len(), jam.pending.len()), (5, 4));
    let populated = jam
        .pending
        .iter()
        .filter(|one| one.restore == Restore::Destination);
    assert_eq!(populated.count(), 1);
    let locked = jammed.locked();
    jammed.each_snapshot_says_so(&locked).await;
    jammed.each_restore_says_so(&locked).await;
    jammed.the_deleted_claim_is_held().await;

    jammed.restart().await;
    for pending in &jam.pending {
        jammed.restored(pending).await;
    }
    jammed.backups_clean_up().await;
    let left = jammed.locked();
    assert!(left.is_disjoint(&locked), "still locked: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn restart_does_not_help_a_sick_backend() {
    // As deployed by ceph-csi-operator, with a sidecar older than 6.0.
    let config = WorldConfig {
        layout: Layout::OperatorManaged,
        messages: ProvisionerMessages::Prefixed,
        ..WorldConfig::new(Timings::fast())
    };
    let jammed = Jammed::start(config, Outage::Lasting).await;
    jammed
        .refusals_are_logged(&jammed.jam.stuck_snapshots[0])
        .await;

    let old = jammed.restart().await;
    let [one, other, ..] = &jammed.jam.pending[..] else {
        panic!("{:?}", jammed.jam.pending)
    };
    jammed.refused_by_another_than(&old, one).await;
    jammed.pursued_although_deleted(one).await;

    // A healthy backend alone does not release the locks; the next restart does.
    jammed.ground.world.ceph().heal();
    assert!(
        jammed
            .locked()
            .contains(&format!("pvc-{}", other.refused.uid))
    );
    jammed.restart().await;
    jammed.restored(other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn processes_and_locks_end_with_the_world() {
    let Jammed { ground, .. } =
        Jammed::start(WorldConfig::new(Timings::fast()), Outage::Lasting).await;
    let Ground {
        testbed: _testbed,
        world,
    } = ground;
    let ceph = world.ceph().clone();
    assert_ne!(ceph.locks(), []);
    world.shutdown().await;
    let released = async {
        while !ceph.locks().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, released).await.unwrap();
}

impl Jammed {
    async fn start(config: WorldConfig, outage: Outage) -> Self {
        let ground = Ground::start(config).await;
        let jam = playbook_jam(&ground.world, outage)
            .await
            .expect("the jam stands");
        Self { ground, jam }
    }

    fn client(&self) -> Client {
        self.ground.testbed.client()
    }

    fn claims_of(&self, claim: &Identity) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client(), &claim.namespace)
    }

    /// The ids locked by any driver process.
    fn locked(&self) -> BTreeSet<String> {
        self.ground
            .world
            .ceph()
            .locks()
            .into_iter()
            .map(|lock| lock.id)
            .collect()
    }

    async fn each_snapshot_says_so(&self, locked: &BTreeSet<String>) {
        let contents: Api<VolumeSnapshotContent> = Api::all(self.client());
        for stuck in &self.jam.stuck_snapshots {
            assert!(
                locked.contains(&format!("snapshot-{}", stuck.uid)),
                "{stuck:?} is not locked"
            );
            let content = contents
                .get(&format!("snapcontent-{}", stuck.uid))
                .await
                .expect("a content");
            assert!(content.annotations().contains_key(BEING_CREATED));
            let volume = content.spec.source.volume_handle.unwrap_or_default();
            let message = format!(
                "Failed to check and update snapshot content: failed to take snapshot of the volume {volume}: \"{}\"",
                aborted(&format!("snapshot-{}", stuck.uid))
            );
            let says = |snapshot: Option<&VolumeSnapshot>| {
                let error = snapshot.and_then(|snapshot| snapshot.status.as_ref()?.error.as_ref());
                error.and_then(|error| error.message.as_ref()) == Some(&message)
            };
            let snapshots = Api::namespaced(self.client(), &stuck.namespace);
            self.ground
                .testbed
                .until(snapshots, &stuck.name, says)
                .await;
        }
    }

    async fn each_restore_says_so(&self, locked: &BTreeSet<String>) {
        for pending in &self.jam.pending {
            let key = format!("pvc-{}", pending.refused.uid);
            assert!(locked.contains(&key), "{pending:?} is not locked");
            let message = aborted(&key);
            self.event(&pending.refused, |event| {
                event.message.as_ref() == Some(&message)
            })
            .await;
        }
    }

    async fn the_deleted_claim_is_held(&self) {
        let leaving = self
            .claims_of(&self.jam.terminating)
            .get(&self.jam.terminating.name)
            .await
            .expect("a claim");
        assert!(leaving.metadata.deletion_timestamp.is_some());
        assert!(
            leaving
                .finalizers()
                .iter()
                .any(|finalizer| finalizer == PVC_AS_SOURCE_FINALIZER)
        );
    }

    /// Deletes the provisioner's Pods and waits until others hold both Leases. Returns the names of the old Pods.
    async fn restart(&self) -> Vec<String> {
        let config = self.ground.world.config();
        let leases: Api<Lease> = Api::namespaced(self.client(), &config.namespace);
        let (provisioner, snapshotter) = lease_names(&config.driver);
        let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
        let mut before = Vec::new();
        for name in [&provisioner, &snapshotter] {
            before.push(holder(&leases.get(name).await.expect("a lease")));
        }
        let old = self.ground.delete_provisioner().await;
        for name in [provisioner, snapshotter] {
            let taken =
                |lease: Option<&Lease>| lease.is_some_and(|lease| !before.contains(&holder(lease)));
            self.ground
                .testbed
                .until(leases.clone(), &name, taken)
                .await;
        }
        old
    }

    /// Waits until the claim is bound, with the same uid.
    async fn restored(&self, pending: &Pending) {
        let claims = self.claims_of(&pending.claim);
        let claim = self
            .ground
            .testbed
            .until(claims, &pending.claim.name, is_bound)
            .await;
        assert_eq!(
            claim.and_then(|claim| claim.uid()).as_ref(),
            Some(&pending.claim.uid)
        );
    }

    /// The backups complete and clean up, except for the one whose claim is deleted.
    async fn backups_clean_up(&self) {
        let leaving = &self.jam.terminating;
        let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
        self.ground
            .testbed
            .until(self.claims_of(leaving), &leaving.name, gone)
            .await;
        let stuck = &self.jam.stuck_snapshots;
        let last = temporary_name(&leaving.name);
        until(
            Api::<VolumeSnapshot>::all(self.client()),
            "the stuck snapshots to go",
            PATIENCE,
            |all| {
                let left = all
                    .iter()
                    .filter(|one| stuck.contains(&Identity::of(&***one)));
                left.map(|one| one.name_any()).eq([last.clone()])
            },
        )
        .await
        .expect("the stuck snapshots go");
        let message = format!("PersistentVolumeClaim \"{}\" not found", leaving.name);
        let says = |source: Option<&ReplicationSource>| {
            let status = source.and_then(|source| source.status.as_ref());
            status.is_some_and(|status| {
                status
                    .conditions
                    .iter()
                    .any(|condition| condition.message == message)
            })
        };
        let sources = Api::namespaced(self.client(), &leaving.namespace);
        self.ground
            .testbed
            .until(sources, &leaving.name, says)
            .await;
    }

    /// Each refusal has two lines in the log of the leading Pod.
    async fn refusals_are_logged(&self, snapshot: &Identity) {
        let config = self.ground.world.config();
        let pods: Api<Pod> = Api::namespaced(self.client(), &config.namespace);
        let provisioners =
            ListParams::default().labels(&format!("app={}", provisioner_deployment(config)));
        let options = LogParams {
            container: Some("csi-rbdplugin".to_owned()),
            ..LogParams::default()
        };
        let mut log = String::new();
        for pod in pods
            .list(&provisioners)
            .await
            .expect("the provisioner's pods")
        {
            log += &pods.logs(&pod.name_any(), &options).await.expect("a log");
        }
        let key = format!("snapshot-{}", snapshot.uid);
        let header = r"(?m)^E\d{4} \d\d:\d\d:\d\d\.\d{6} {7}1";
        let refused = aborted(&key);
        for line in [
            format!(
                r"{header} controllerserver\.go:\d+\] ID: \d+ Req-ID: {key} an operation with the given Snapshot ID {key} already exists$"
            ),
            format!(r"{header} utils\.go:\d+\] ID: \d+ Req-ID: {key} GRPC error: {refused}$"),
        ] {
            assert!(
                Regex::new(&line).expect("a pattern").is_match(&log),
                "no line like {line}"
            );
        }
    }

    /// A sidecar in a Pod other than `old` is refused, too.
    async fn refused_by_another_than(&self, old: &[String], pending: &Pending) {
        let message = prefixed(pending);
        self.event(&pending.refused, |event| {
            let component = event
                .source
                .as_ref()
                .and_then(|source| source.component.as_ref());
            event.message.as_ref() == Some(&message)
                && component.is_some_and(|component| {
                    old.iter().all(|pod| !component.ends_with(pod.as_str()))
                })
        })
        .await;
    }

    /// A claim that was deleted during its call is retried nevertheless.
    async fn pursued_although_deleted(&self, pending: &Pending) {
        let (claims, claim) = (self.claims_of(&pending.claim), &pending.claim);
        let deleted = self
            .ground
            .person()
            .delete(&claims, &claim.name, Some(claim.uid.clone()))
            .await;
        deleted.expect("the claim is deleted");
        let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
        self.ground.testbed.until(claims, &claim.name, gone).await;
        let message = prefixed(pending);
        let refusal = |event: &Event| event.message.as_ref() == Some(&message);
        let before = self.event(claim, refusal).await.count;
        self.event(claim, |event| refusal(event) && event.count > before)
            .await;
    }

    /// The first Event about `object` that `wanted` accepts, once it exists.
    async fn event(&self, object: &Identity, wanted: impl Fn(&Event) -> bool) -> Arc<Event> {
        let find = |all: &[Arc<Event>]| {
            let mut about = all
                .iter()
                .filter(|event| event.involved_object.uid.as_ref() == Some(&object.uid));
            about.find(|event| wanted(event)).cloned()
        };
        let events = until(
            Api::<Event>::all(self.client()),
            "an event",
            PATIENCE,
            |all| find(all).is_some(),
        )
        .await;
        find(&events.expect("an event")).expect("still there")
    }
}

/// A driver's response for a locked key.
fn aborted(key: &str) -> String {
    format!(
        "rpc error: code = Aborted desc = an operation with the given Volume ID {key} already exists"
    )
}

/// The same with the wording of a sidecar older than 6.0.
fn prefixed(pending: &Pending) -> String {
    let refused = aborted(&format!("pvc-{}", pending.refused.uid));
    format!("failed to provision volume with StorageClass \"{IMMEDIATE_CLASS}\": {refused}")
}
