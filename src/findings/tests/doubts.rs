//! Situations without findings that must not be reported as "nothing is stuck".

use rstest::rstest;

use crate::config::{Config, Mode, parse};
use crate::findings::doubts;
use crate::model::fixture::*;
use crate::model::{Kind, WatchState};

fn found(world: &World, config: &Config) -> Vec<String> {
    doubts(&world.0, &config.drivers, config.mode)
        .into_iter()
        .map(|doubt| format!("{} {}", doubt.kind.as_str(), doubt.subject))
        .collect()
}

fn only(driver: &str) -> Config {
    parse(&format!("drivers: [{{name: '{driver}'}}]")).unwrap()
}

#[test]
fn completely_observed_cluster_has_no_doubt() {
    assert_eq!(found(&World::rook(), &Config::default()), [""; 0]);
}

#[rstest]
#[case::no_volsync(Kind::ReplicationSources, "not_served replicationsources")]
#[case::no_snapshots(Kind::VolumeSnapshots, "not_served volumesnapshots")]
#[case::no_core_kinds(Kind::PersistentVolumeClaims, "not_served persistentvolumeclaims")]
fn unserved_collection_is_a_doubt(#[case] kind: Kind, #[case] doubt: &str) {
    let world = World::rook().reading(kind, WatchState::NotServed);
    assert_eq!(found(&world, &Config::default()), [doubt]);
}

#[test]
fn missing_cephclusters_are_no_doubt_without_rook() {
    let world = World::rook().reading(Kind::CephClusters, WatchState::NotServed);
    assert_eq!(found(&world, &Config::default()), [""; 0]);
}

#[test]
fn missing_remediations_are_a_doubt_only_to_act() {
    let world = World::rook().reading(Kind::Remediations, WatchState::NotServed);
    let act = Config {
        mode: Mode::Act,
        ..Config::default()
    };
    assert_eq!(found(&world, &Config::default()), [""; 0]);
    assert_eq!(found(&world, &act), ["not_served remediations"]);
}

#[rstest]
#[case::one_of_two_in_use(only("*.rbd.csi.ceph.com"), &["driver_excluded rook-ceph.cephfs.csi.ceph.com"])]
#[case::none_of_those_in_use(
    only("rbd.csi.ceph.com"),
    &[
        "driver_excluded rook-ceph.cephfs.csi.ceph.com", "driver_excluded rook-ceph.rbd.csi.ceph.com",
        "driver_unused rbd.csi.ceph.com",
    ]
)]
#[case::both(only("*.csi.ceph.com"), &[])]
fn excluded_driver_is_a_doubt(#[case] config: Config, #[case] doubts: &[&str]) {
    assert_eq!(found(&World::rook(), &config), doubts);
}

#[test]
fn excluded_driver_is_reported_with_its_claims() {
    let world = World::rook()
        .with(claim("media", "a").class("ceph-filesystem"))
        .with(claim("media", "b").class("ceph-filesystem"))
        .with(claim("media", "c"));
    let drivers = only("*.rbd.csi.ceph.com").drivers;
    let doubts = doubts(&world.0, &drivers, Mode::Observe);
    assert!(
        doubts[0].message.contains("with 2 PersistentVolumeClaims"),
        "{doubts:?}"
    );
}

#[test]
fn cluster_without_a_csi_driver_is_a_doubt() {
    let world = World::empty().with(storage_class("local-path", UNWATCHED));
    assert_eq!(found(&world, &Config::default()), ["no_driver drivers"]);
}

#[test]
fn driver_doubts_require_listed_classes() {
    let world = World::empty().reading(Kind::StorageClasses, WatchState::Never);
    assert_eq!(found(&world, &Config::default()), [""; 0]);
}

/// Case 16 of the drivers: by default every driver that a class names is watched, also ceph-csi without Rook's prefix.
#[rstest]
#[case("rbd.csi.ceph.com")]
#[case("driver.longhorn.io")]
#[case("org.democratic-csi.iscsi")]
#[case("ebs.csi.aws.com")]
#[case("never-heard-of.example.com")]
fn every_csi_driver_in_use_is_watched_by_default(#[case] driver: &str) {
    let world = World::empty().with(storage_class("block", driver)).with(
        claim("media", "sonarr")
            .pending()
            .class("block")
            .created(at(-15)),
    );
    assert_eq!(found(&world, &Config::default()), [""; 0]);
    assert_eq!(world.stuck(), ["pending_claim unknown sonarr"]);
}
