//! The playbook's jam, and what does and does not end it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use locksmith::api::snapshot::{
    BEING_CREATED, PVC_AS_SOURCE_FINALIZER, VolumeSnapshot, VolumeSnapshotContent,
};
use locksmith::api::volsync::{ReplicationSource, temporary_name};
use locksmith::demo::scenario::{Identity, Jam, Outage, Pending, Restore, playbook_jam, until};
use locksmith::demo::world::{Timings, WorldConfig, lease_names};
use regex::Regex;

use crate::world_ground::{Ground, PATIENCE};

impl Ground {
    async fn jammed(outage: Outage) -> (Self, Jam) {
        let ground = Self::start(WorldConfig::new(Timings::fast())).await;
        let jam = playbook_jam(&ground.world, outage).await.unwrap();
        (ground, jam)
    }

    /// Waits until both Leases are held by Pods that are none of `old`.
    async fn new_leaders(&self, old: &[String]) {
        let leases: Api<Lease> =
            Api::namespaced(self.testbed.client(), &self.world.config().namespace);
        let (provisioner, snapshotter) = lease_names(&self.world.config().driver);
        for name in [provisioner, snapshotter] {
            let taken = |lease: Option<&Lease>| {
                let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref());
                holder.is_some_and(|holder| !old.contains(holder))
            };
            self.testbed.until(leases.clone(), &name, taken).await;
        }
    }

    async fn events_of(&self, claim: &str, condition: impl Fn(&Event) -> bool) -> Vec<Arc<Event>> {
        let about =
            |event: &Event| event.involved_object.uid.as_deref() == Some(claim) && condition(event);
        let events: Api<Event> = Api::all(self.testbed.client());
        until(events, "an event", PATIENCE, |all| {
            all.iter().any(|event| about(event))
        })
        .await
        .unwrap()
    }
}

fn refused(pending: &Pending) -> String {
    let uid = &pending.refused.uid;
    format!(
        "rpc error: code = Aborted desc = an operation with the given Volume ID pvc-{uid} already exists"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_restart_ends_the_jam() {
    let (ground, jam) = Ground::jammed(Outage::Over).await;
    let client = ground.testbed.client();
    assert_eq!((jam.sources.len(), jam.orphaned.len()), (20, 3));
    assert_eq!((jam.stuck_snapshots.len(), jam.pending.len()), (5, 4));
    assert_eq!(
        jam.pending
            .iter()
            .filter(|pending| pending.restore == Restore::Destination)
            .count(),
        1
    );

    // Every stuck object's key is locked, and each stuck snapshot says so.
    let locked: BTreeSet<_> = ground
        .world
        .ceph()
        .locks()
        .into_iter()
        .map(|lock| lock.id)
        .collect();
    for stuck in &jam.stuck_snapshots {
        assert!(
            locked.contains(&format!("snapshot-{}", stuck.uid)),
            "{stuck:?} is not locked"
        );
        let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
        let content = contents
            .get(&format!("snapcontent-{}", stuck.uid))
            .await
            .unwrap();
        assert!(content.annotations().contains_key(BEING_CREATED));
        let volume = content.spec.source.volume_handle.unwrap();
        let message = format!(
            "Failed to check and update snapshot content: failed to take snapshot of the volume {volume}: \"rpc error: \
             code = Aborted desc = an operation with the given Volume ID snapshot-{} already exists\"",
            stuck.uid
        );
        let says = |snapshot: Option<&VolumeSnapshot>| {
            let error = snapshot.and_then(|snapshot| snapshot.status.as_ref()?.error.as_ref());
            error.and_then(|error| error.message.as_ref()) == Some(&message)
        };
        ground
            .testbed
            .until(
                Api::namespaced(client.clone(), &stuck.namespace),
                &stuck.name,
                says,
            )
            .await;
    }
    for pending in &jam.pending {
        assert!(
            locked.contains(&format!("pvc-{}", pending.refused.uid)),
            "{pending:?} is not locked"
        );
        let message = refused(pending);
        ground
            .events_of(&pending.refused.uid, |event| {
                event.message.as_ref() == Some(&message)
            })
            .await;
    }

    // The deleted claim stays, held by the snapshot.
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(client.clone(), &jam.terminating.namespace);
    let leaving = claims.get(&jam.terminating.name).await.unwrap();
    assert!(leaving.metadata.deletion_timestamp.is_some());
    assert!(
        leaving
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == PVC_AS_SOURCE_FINALIZER)
    );

    let old = ground.delete_provisioner().await;
    ground.new_leaders(&old).await;
    for pending in &jam.pending {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(client.clone(), &pending.claim.namespace);
        let bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.is_some_and(|claim| {
                assert_eq!(
                    claim.metadata.uid.as_ref(),
                    Some(&pending.claim.uid),
                    "made anew"
                );
                claim
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref())
                    == Some("Bound")
            })
        };
        ground
            .testbed
            .until(claims, &pending.claim.name, bound)
            .await;
    }
    // The backups go through and clean up behind them, but for the one whose claim has left meanwhile.
    let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
    ground
        .testbed
        .until(claims, &jam.terminating.name, gone)
        .await;
    let snapshots: Api<VolumeSnapshot> = Api::all(client.clone());
    let of_leaving = temporary_name(&jam.terminating.name);
    until(snapshots, "the stuck snapshots to go", PATIENCE, |all| {
        let left = all
            .iter()
            .filter(|one| jam.stuck_snapshots.contains(&Identity::of(&***one)));
        left.map(|one| one.name_any()).eq([of_leaving.clone()])
    })
    .await
    .unwrap();
    let sources: Api<ReplicationSource> =
        Api::namespaced(client.clone(), &jam.terminating.namespace);
    let says = |source: Option<&ReplicationSource>| {
        let conditions = source
            .and_then(|source| source.status.as_ref())
            .map(|status| &status.conditions);
        let message = format!(
            "PersistentVolumeClaim \"{}\" not found",
            jam.terminating.name
        );
        conditions.is_some_and(|all| all.iter().any(|condition| condition.message == message))
    };
    ground
        .testbed
        .until(sources, &jam.terminating.name, says)
        .await;
    assert_eq!(ground.world.ceph().locks(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_restart_does_not_help_against_a_backend_that_stays_sick() {
    let (ground, jam) = Ground::jammed(Outage::Lasting).await;
    let pending = &jam.pending[0];

    // Two lines a refusal, in the log of the Pod that leads.
    let pods: Api<Pod> = Api::namespaced(ground.testbed.client(), &ground.world.config().namespace);
    let selected = ListParams::default().labels("app=csi-rbdplugin-provisioner");
    let options = kube::api::LogParams {
        container: Some("csi-rbdplugin".to_owned()),
        ..Default::default()
    };
    let mut log = String::new();
    for pod in pods.list(&selected).await.unwrap() {
        log += &pods.logs(&pod.name_any(), &options).await.unwrap();
    }
    let uid = &jam.stuck_snapshots[0].uid;
    let header = r"(?m)^E\d{4} \d\d:\d\d:\d\d\.\d{6} {7}1 ";
    let key = format!("snapshot-{uid}");
    for line in [
        format!(
            r"{header}controllerserver\.go:\d+\] ID: \d+ Req-ID: {key} an operation with the given Snapshot ID {key} already exists$"
        ),
        format!(
            r"{header}utils\.go:\d+\] ID: \d+ Req-ID: {key} GRPC error: rpc error: code = Aborted desc = an operation with the given Volume ID {key} already exists$"
        ),
    ] {
        assert!(
            Regex::new(&line).unwrap().is_match(&log),
            "no line like {line}"
        );
    }

    let old = ground.delete_provisioner().await;
    ground.new_leaders(&old).await;
    let message = refused(pending);
    ground
        .events_of(&pending.refused.uid, |event| {
            let by_new = event
                .source
                .as_ref()
                .and_then(|source| source.component.as_ref());
            let by_new = by_new
                .is_some_and(|component| old.iter().all(|pod| !component.ends_with(pod.as_str())));
            by_new && event.message.as_ref() == Some(&message)
        })
        .await;

    // A claim that is deleted while its call is open is pursued all the same.
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(ground.testbed.client(), &pending.claim.namespace);
    ground
        .person()
        .delete(
            &claims,
            &pending.claim.name,
            Some(pending.claim.uid.clone()),
        )
        .await
        .unwrap();
    let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
    ground
        .testbed
        .until(claims, &pending.claim.name, gone)
        .await;
    let count = |events: &[Arc<Event>]| {
        let about = events
            .iter()
            .filter(|event| event.involved_object.uid.as_ref() == Some(&pending.claim.uid));
        about
            .filter(|event| event.message.as_ref() == Some(&message))
            .filter_map(|event| event.count)
            .max()
    };
    let before = count(&ground.events_of(&pending.claim.uid, |_| true).await);
    let events: Api<Event> = Api::all(ground.testbed.client());
    until(events, "one more refusal", PATIENCE, |events| {
        count(events) > before
    })
    .await
    .unwrap();

    // Health alone does not release what is locked; the next restart does.
    ground.world.ceph().heal();
    let locked = ground.world.ceph().locks();
    assert!(
        locked
            .iter()
            .any(|lock| lock.id == format!("pvc-{}", jam.pending[1].refused.uid)),
        "{locked:?}"
    );
    ground.delete_provisioner().await;
    let other = &jam.pending[1].claim;
    let bound = |claim: Option<&PersistentVolumeClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
    };
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(ground.testbed.client(), &other.namespace);
    ground.testbed.until(claims, &other.name, bound).await;
}
