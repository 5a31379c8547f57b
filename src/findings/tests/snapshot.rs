//! Failed snapshots: every reason, and unready snapshots that are no finding.

use std::num::NonZeroU64;

use rstest::rstest;

use crate::config::Config;
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::model::records::{Lease, Snapshot};
use crate::model::{Kind, WatchState};

/// A snapshot that has been unready since 01:45.
fn stuck() -> Snapshot {
    snapshot("media", "s", "prowlarr")
        .unready()
        .created(at(-15))
}

/// A world with the claim of the snapshot.
fn world() -> World {
    World::rook().with(claim("media", "prowlarr"))
}

/// The snapshotter's lease is stale, and no pod has the sidecar.
fn without_snapshotter() -> World {
    let bare = |suffix| {
        let mut pod = replica(PROVISIONER, "7d9f8b6c5d", suffix);
        pod.sidecars.as_mut().unwrap().containers =
            ["csi-provisioner".into(), "csi-rbdplugin".into()].into();
        pod
    };
    world()
        .with(bare("leadr"))
        .with(bare("stdby"))
        .with(stale())
}

fn stale() -> Lease {
    let mut stale = lease(SNAPSHOTTER_LEASE, LEADER, at(-600));
    stale.renewed = Some(at(-300));
    stale
}

/// A managed cluster: the provider runs the controller outside of it.
fn outside_the_cluster() -> World {
    World::empty()
        .with(namespace("media"))
        .with(storage_class("ceph-block", DRIVER))
        .with(snapshot_class("csi-ceph-block", DRIVER))
        .with(claim("media", "prowlarr"))
}

/// Another snapshot of the same driver.
fn older() -> Snapshot {
    snapshot("media", "older", "prowlarr")
}

fn locked(key_text: &str) -> ErrorClass {
    ErrorClass::Locked(key(key_text))
}

#[rstest]
#[case::refused_in_snapshot(world().with(stuck().error(locked("snapshot-uid-x"))), "operation_lock")]
#[case::refused_in_content(
    world().with(stuck()).with(content(&stuck()).error(locked("volume-of-s"))),
    "operation_lock"
)]
#[case::refused_in_log(
    world().with(stuck()).with(content(&stuck()))
        .refused("snapshot-uid-snapshot-media-s", log_of(LEADER_UID), at(-12), at(-1)),
    "operation_lock"
)]
#[case::timeout(world().with(stuck().error(ErrorClass::Timeout)), "timeout")]
#[case::timeout_in_content(world().with(stuck()).with(content(&stuck()).error(ErrorClass::Timeout)), "timeout")]
#[case::claim_missing_in_snapshot(world().with(stuck().error(ErrorClass::SourceMissing)), "source_missing")]
#[case::claim_missing(World::rook().with(stuck().without_status()), "source_missing")]
#[case::another_error(world().with(stuck().error(ErrorClass::Other)), "other")]
#[case::storage_volume_missing_in_content(
    world().with(stuck()).with(content(&stuck()).error(ErrorClass::SourceMissing)), "source_missing"
)]
#[case::claim_unbound_in_snapshot(world().with(stuck().error(ErrorClass::SourceUnbound)), "source_unbound")]
#[case::claim_unbound(
    World::rook().with(claim("media", "prowlarr").pending().created(at(-5))).with(stuck().without_status()),
    "source_unbound"
)]
#[case::refused_again_by_the_driver_that_accepted_it(
    world().with(stuck()).with(content(&stuck()).handle("csi-1"))
        .refused("snapshot-uid-snapshot-media-s", log_of(LEADER_UID), at(-12), at(-1))
        .with(stuck().created(at(-400))),
    "operation_lock"
)]
#[case::accepted_long_ago(
    world().with(stuck().created(at(-361))).with(content(&stuck()).handle("csi-1")), "processing"
)]
#[case::accepted_long_ago_beside_a_stale_error(
    world().with(stuck().created(at(-361)).error(locked("snapshot-uid-x")))
        .with(content(&stuck()).handle("csi-1").error(locked("volume-of-s"))),
    "processing"
)]
#[case::without_a_message(world().with(stuck()).with(content(&stuck())), "other")]
#[case::no_content(world().with(stuck().without_status()), "other")]
#[case::no_snapshotter(
    without_snapshotter().with(stuck().without_status()).with(content(&stuck()).unseen()),
    "snapshotter_absent"
)]
#[case::the_pods_of_the_controller_are_not_visible(
    outside_the_cluster().with(stuck().without_status()).with(content(&stuck()).unseen()),
    "other"
)]
#[case::nor_are_its_pods_and_a_lease_is_left_from_another_install(
    outside_the_cluster().with(stale()).with(stuck().without_status()).with(content(&stuck()).unseen()),
    "other"
)]
#[case::no_snapshotter_but_seen_by_one_before(
    without_snapshotter().with(stuck()).with(content(&stuck())),
    "other"
)]
#[case::a_snapshotter_that_writes_on_nothing(
    world().with(stuck().without_status()).with(content(&stuck()).unseen()),
    "snapshotter_idle"
)]
#[case::a_snapshotter_that_wrote_on_older_ones_before_it_went_idle(
    world().with(stuck().without_status()).with(content(&stuck()).unseen().created(at(-15)))
        .with(content(&older()).handle("csi-old").created(at(-16))),
    "snapshotter_idle"
)]
#[case::a_snapshotter_that_writes_on_younger_ones(
    world().with(stuck().without_status()).with(content(&stuck()).unseen().created(at(-15)))
        .with(content(&older()).handle("csi-young").created(at(-14))),
    "other"
)]
#[case::a_snapshotter_whose_workers_hang(
    world().with(stuck().without_status()).with(content(&stuck()).unseen())
        .with(content(&older()).unseen().being_created()),
    "other"
)]
#[case::a_snapshotter_that_has_just_taken_the_lease(
    world().with(lease(SNAPSHOTTER_LEASE, LEADER, at(-9)))
        .with(stuck().without_status()).with(content(&stuck()).unseen()),
    "other"
)]
#[case::a_snapshot_that_is_being_created(
    world().with(stuck().without_status()).with(content(&stuck()).unseen().being_created()),
    "other"
)]
#[case::a_snapshotter_about_to_take_the_lease(
    world().with(lease(SNAPSHOTTER_LEASE, "", at(-300))).with(stuck()).with(content(&stuck()).unseen()),
    "other"
)]
#[case::a_content_that_points_to_another_snapshot(
    world().with(stuck().bound_to("misbound")).with(content(&stuck().uid("other")).named("misbound").handle("csi-1")),
    "other"
)]
fn unready_snapshot_has_a_reason(#[case] world: World, #[case] reason: &str) {
    let stuck = world.stuck();
    let expected = format!("failed_snapshot {reason} s");
    let snapshots: Vec<_> = stuck
        .iter()
        .filter(|found| found.starts_with("failed"))
        .collect();
    assert_eq!(snapshots, [&expected], "of {stuck:?}");
}

#[rstest]
#[case::ready(world().with(snapshot("media", "s", "prowlarr").created(at(-15))))]
#[case::young(world().with(stuck().created(at(-10)).error(ErrorClass::Other)))]
#[case::accepted_and_still_processed(
    world().with(stuck().created(at(-359))).with(content(&stuck()).handle("csi-1"))
)]
#[case::accepted_beside_a_stale_error(
    world().with(stuck().created(at(-359)).error(locked("snapshot-uid-x")))
        .with(content(&stuck()).handle("csi-1").error(locked("volume-of-s")))
)]
#[case::going(world().with(stuck().error(ErrorClass::Other).deleting(at(-9))))]
#[case::pre_provisioned(world().with(stuck().pre_provisioned().error(ErrorClass::Other)))]
#[case::of_an_unwatched_driver(world().with(stuck()).with(content(&stuck()).driver(UNWATCHED)))]
#[case::of_an_unwatched_class(
    world().with(snapshot_class("zfs", UNWATCHED)).with(stuck().class("zfs").without_status())
)]
fn young_unready_snapshot_is_no_finding(#[case] world: World) {
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[test]
fn young_snapshot_behind_a_found_lock_is_stuck() {
    let young = stuck().created(at(-7));
    let key = format!("snapshot-{}", young.meta.uid);
    let world = world().with(content(&young)).with(young);
    assert_eq!(world.stuck(), Vec::<String>::new());
    let locked = world.refused(&key, log_of(LEADER_UID), at(-6), at(0));
    assert_eq!(
        locked.stuck(),
        [
            "failed_snapshot operation_lock s",
            "operation_lock create_snapshot s"
        ]
    );
}

#[rstest]
#[case::by_its_content(
    world().with(stuck().class("")).with(content(&stuck()).driver(OTHER_DRIVER)),
    Some(OTHER_DRIVER)
)]
#[case::by_its_class(world().with(stuck().class("csi-ceph-filesystem")), Some(OTHER_DRIVER))]
#[case::by_its_claim(
    World::rook().with(claim("media", "prowlarr").class("ceph-filesystem")).with(stuck().class("")),
    Some(OTHER_DRIVER)
)]
#[case::by_nothing(World::rook().with(stuck().class("")), None)]
fn snapshot_driver_is_found(#[case] world: World, #[case] driver: Option<&str>) {
    let found = world.found(&Config::default(), at(0));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].driver.as_deref(), driver);
}

#[test]
fn unlisted_source_claim_is_not_missing() {
    let world = World::rook().with(stuck().without_status()).reading(
        Kind::PersistentVolumeClaims,
        WatchState::Failing("403".to_owned()),
    );
    assert_eq!(world.stuck(), ["failed_snapshot other s"]);
}

#[test]
fn snapshot_finding_has_chain_and_message() {
    let mut sized = stuck().error(ErrorClass::Timeout);
    sized.restore_size = NonZeroU64::new(7 << 30);
    let found = world()
        .with(sized)
        .with(content(&stuck()))
        .found(&Config::default(), at(0));
    assert_eq!(found[0].bytes, 7 << 30);
    assert_eq!(found[0].class.as_deref(), Some("csi-ceph-block"));
    assert_eq!(found[0].since, at(-15));
    assert_eq!(found[0].evidence, ["told by the VolumeSnapshot"]);
    let chain: Vec<_> = found[0].chain.iter().map(ToString::to_string).collect();
    let expected = [
        "PersistentVolumeClaim media/prowlarr",
        "VolumeSnapshotContent snapcontent-uid-snapshot-media-s",
    ];
    assert_eq!(chain, expected);
}

#[rstest]
#[case::its_own("volsync-prowlarr-src", Some("uid-source-media-prowlarr"), true)]
#[case::of_an_earlier_one_of_that_name("volsync-prowlarr-src", Some("uid-gone"), false)]
#[case::that_only_looks_like_it("volsync-prowlarr-src", None, false)]
#[case::under_another_name("prowlarr", Some("uid-source-media-prowlarr"), false)]
fn chain_starts_with_the_requesting_source(
    #[case] name: &str,
    #[case] owner: Option<&str>,
    #[case] asked: bool,
) {
    let snapshot = snapshot("media", name, "prowlarr")
        .unready()
        .created(at(-15));
    let world = world()
        .with(source("media", "prowlarr"))
        .with(snapshot.owner(owner));
    let found = world.found(&Config::default(), at(0));
    let first = found[0].chain[0].to_string();
    assert_eq!(
        first == "ReplicationSource media/prowlarr",
        asked,
        "{first}"
    );
}
