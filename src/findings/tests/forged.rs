//! Objects forged by a tenant who may create Events, claims, snapshots and pods in one namespace.

use rstest::rstest;

use crate::api::{LockKey, ObjectKind};
use crate::config::Config;
use crate::findings::{FindingKind, FindingReason, has_snapshotter, proven};
use crate::model::fixture::*;
use crate::model::records::{Claim, Lease, Pod};
use crate::model::{Change, Model, ProvisioningError, Refusal, Witness};

/// A claim of another tenant, Pending since 01:45.
fn victim() -> Claim {
    claim("media", "sonarr").pending().created(at(-15))
}

/// A claim of the attacker.
fn mine() -> Claim {
    claim("tenant", "mine").pending().created(at(-15))
}

fn world() -> World {
    World::rook()
        .with(namespace("tenant"))
        .with(victim())
        .with(mine())
}

/// An Event in the attacker's namespace, ten minutes long, on the claim with this name and uid.
fn event(name: &str, uid: &str, driver: &str, key: &str) -> Change {
    let mut on = mine().meta.key(ObjectKind::PersistentVolumeClaim);
    on.name = name.into();
    on.uid = uid.into();
    Change::Refused(Refusal {
        driver: driver.into(),
        key: LockKey(key.into()),
        witness: Witness::Event(on),
        first: at(-11),
        at: at(-1),
        message: "forged".into(),
    })
}

const VICTIM: &str = "uid-claim-media-sonarr";
const MINE: &str = "uid-claim-tenant-mine";

fn locked(model: &World) -> Vec<String> {
    let found = model.found(&Config::default(), at(0));
    let locks = found.into_iter().filter_map(|finding| match finding.what {
        FindingReason::OperationLock(key) => Some(key.to_string()),
        _ => None,
    });
    locks.collect()
}

/// Attack: an Event that reports a lock on another tenant's claim, or on one's own claim at an invented driver. Defence: an
/// Event counts only for the claim it is on, under the current uid of the claim, and for a driver that a class names.
#[rstest]
#[case::about_anothers_claim(event("mine", MINE, DRIVER, "pvc-uid-claim-media-sonarr"))]
#[case::on_a_claim_of_anothers_uid(event("mine", VICTIM, DRIVER, "pvc-uid-claim-media-sonarr"))]
#[case::on_a_claim_that_is_not_there(event(
    "sonarr",
    VICTIM,
    DRIVER,
    "pvc-uid-claim-media-sonarr"
))]
#[case::about_anothers_snapshot(event("mine", MINE, DRIVER, "snapshot-uid-snapshot-media-s"))]
#[case::about_the_handle_of_anothers_snapshot(event("mine", MINE, DRIVER, "csi-1"))]
#[case::of_a_made_up_driver(event(
    "mine",
    MINE,
    "made-up.rbd.csi.ceph.com",
    "pvc-uid-claim-tenant-mine"
))]
fn forged_event_makes_no_lock(#[case] forged: Change) {
    let hangs = snapshot("media", "s", "prowlarr")
        .unready()
        .created(at(-15));
    let world = world()
        .with(content(&hangs).handle("csi-1"))
        .with(hangs)
        .with(forged);
    assert_eq!(locked(&world), [""; 0]);
}

/// Attack: Events that report a lock on one's own claim for any time, with an ordinary refusal of the same key in the log. Defence:
/// the lock is shown, but not proven, until the leader's log or a status shows refusals for as long as a lock.
#[test]
fn lock_known_only_from_events_is_shown_but_unproven() {
    let key = LockKey("pvc-uid-claim-tenant-mine".into());
    let forged = world().with(event("mine", MINE, DRIVER, &key.0));
    let config = Config::default();
    let proven = |model: &Model| proven(model, &config, &DRIVER.into(), at(0)).contains(&key);
    assert_eq!(locked(&forged), [key.to_string()]);
    assert!(!proven(&forged.0));
    let once = forged.refused(&key.0, log_of(LEADER_UID), at(-3), at(-1));
    assert!(!proven(&once.0));
    let for_long = once.refused(&key.0, log_of(LEADER_UID), at(-10), at(-1));
    assert!(proven(&for_long.0));
}

/// Attack: an Event on one's own claim with the uid of another tenant's, so that its message is shown for the latter.
/// Defence: errors are stored by namespace, name and uid together.
#[test]
fn event_message_is_shown_only_on_its_own_claim() {
    let mut on = mine().meta.key(ObjectKind::PersistentVolumeClaim);
    on.uid = VICTIM.into();
    let error = ProvisioningError {
        at: at(-1),
        message: "forged".into(),
    };
    let world = world().with(Change::ProvisioningFailed(on, error));
    let found = world.found(&Config::default(), at(0));
    assert!(
        found.iter().all(|finding| finding.evidence.is_empty()),
        "{found:#?}"
    );
}

/// Attack: a pod with the name, containers, labels and owner of the provisioner's leader, so that its log is read for locks
/// and it is restarted instead. Defence: holder and Deployment are searched in the namespace of the Lease.
#[test]
fn pod_of_another_namespace_is_no_replica() {
    let mut forged: Pod = replica(PROVISIONER, "7d9f8b6c5d", "leadr");
    forged.meta.namespace = "tenant".into();
    forged.meta.uid = "uid-forged".into();
    let world = world().with(forged).refused(
        "pvc-uid-claim-media-sonarr",
        log_of("uid-forged"),
        at(-11),
        at(-1),
    );
    let provisioner = world.0.provisioner(DRIVER).unwrap();
    let mut replicas = world.0.replicas(&provisioner);
    assert!(replicas.all(|replica| &*replica.pod.meta.namespace == "rook-ceph"));
    assert_eq!(locked(&world), [""; 0]);
}

/// Attack: Leases with the names of the provisioner's, held by the attacker's pod and renewed later than the true ones; or
/// only the snapshotter's Lease, where no snapshotter runs. Defence: only those in `provisionerNamespaces` count.
#[test]
fn lease_of_another_namespace_is_ignored() {
    let forged = |name| Lease {
        namespace: "tenant".into(),
        renewed: Some(at(0)),
        ..lease(name, "mine-0", at(-1))
    };
    let mut mine = replica("mine", "x", "0");
    (mine.meta.namespace, mine.meta.name) = ("tenant".into(), "mine-0".into());
    let attacked = |world: World| {
        world
            .with(mine.clone())
            .with(forged(LEASE))
            .with(forged(SNAPSHOTTER_LEASE))
    };
    let there = attacked(World::rook());
    let provisioner = there.0.provisioner(DRIVER).unwrap();
    assert_eq!(&*provisioner.workload.meta.name, PROVISIONER);

    let missing = attacked(World::empty());
    assert!(missing.0.provisioner(DRIVER).is_none());
    assert_eq!(has_snapshotter(&missing.0, DRIVER, at(0)), None);
}

/// Attack: an arbitrary snapshot class in each snapshot, to create as many metric labels. Defence: a class is reported only
/// if it exists.
#[test]
fn missing_class_is_no_label() {
    let hostile = snapshot("tenant", "s", "mine")
        .class("made\"up")
        .error(crate::csi::ErrorClass::Other)
        .created(at(-15));
    let world = world().with(hostile);
    let found = world.found(&Config::default(), at(0));
    let failed = found
        .iter()
        .find(|finding| finding.what.kind() == FindingKind::FailedSnapshot)
        .unwrap();
    assert_eq!(failed.class, None);
}
