//! Pending claims: every reason, and Pending claims that are no finding.

use rstest::rstest;

use crate::api::ObjectKind;
use crate::findings::FindingKind;
use crate::model::fixture::*;
use crate::model::records::{Claim, DataSource};
use crate::model::{Kind, WatchState};

/// A claim that has been Pending since 01:45.
fn stuck() -> Claim {
    claim("media", "sonarr").pending().created(at(-15))
}

fn prime() -> Claim {
    claim("media", &format!("vs-prime-{}", stuck().meta.uid))
        .pending()
        .created(at(-14))
}

fn restored() -> Claim {
    stuck().from_destination("sonarr-dst")
}

fn foreign() -> DataSource {
    DataSource::ForeignSnapshot {
        namespace: "selfhosted".into(),
        name: "image".into(),
    }
}

fn image() -> crate::model::records::Snapshot {
    snapshot("media", "image", "sonarr-dst")
        .owner(None)
        .created(at(-60))
}

#[rstest]
#[case::without_a_message(World::rook().with(stuck()), "unknown")]
#[case::refused(
    World::rook().with(stuck()).refused("pvc-uid-claim-media-sonarr", event_on("media", "sonarr"), at(-15), at(-1)),
    "operation_lock"
)]
#[case::refused_while_its_snapshot_is_unready_too(
    World::rook().with(stuck().from_snapshot("image")).with(image().unready().created(at(-5)))
        .refused("pvc-uid-claim-media-sonarr", event_on("media", "sonarr"), at(-15), at(-1)),
    "operation_lock"
)]
#[case::locked_source_snapshot(
    World::rook().with(stuck().from_snapshot("image")).with(image())
        .with(content(&image()).handle("csi-snap-9"))
        .refused("csi-snap-9", event_on("media", "sonarr"), at(-15), at(-1)),
    "operation_lock"
)]
#[case::snapshot_not_ready(
    World::rook().with(stuck().from_snapshot("image")).with(image().unready().created(at(-5))),
    "snapshot_not_ready"
)]
#[case::snapshot_without_status(
    World::rook().with(stuck().from_snapshot("image")).with(image().without_status().created(at(-5))),
    "snapshot_not_ready"
)]
#[case::snapshot_missing(World::rook().with(stuck().from_snapshot("image")), "snapshot_missing")]
#[case::snapshot_of_another_namespace(
    World::rook().with(stuck().from_snapshot("image")).with(snapshot("selfhosted", "image", "sonarr-dst")),
    "snapshot_missing"
)]
#[case::snapshot_of_a_namespace_it_names_is_not_ready(
    World::rook().with(stuck().filled_from(foreign())).with(snapshot("selfhosted", "image", "x").unready()
        .created(at(-5))),
    "snapshot_not_ready"
)]
#[case::snapshot_of_a_namespace_it_names_is_ready(
    World::rook().with(stuck().filled_from(foreign())).with(snapshot("selfhosted", "image", "x")),
    "unknown"
)]
#[case::snapshot_of_a_namespace_it_names_is_missing(
    World::rook().with(stuck().filled_from(foreign())).with(image()),
    "snapshot_missing"
)]
#[case::provisioning_error(
    World::rook().with(stuck()).provisioning_error(&stuck(), "no space left"),
    "provisioning_error"
)]
#[case::provisioning_error_with_a_ready_snapshot(
    World::rook().with(stuck().from_snapshot("image")).with(image())
        .provisioning_error(&stuck(), "no space left"),
    "provisioning_error"
)]
#[case::destination_missing(World::rook().with(restored()), "awaiting_populator")]
#[case::destination_without_image(
    World::rook().with(restored()).with(destination("media", "sonarr-dst")),
    "awaiting_populator"
)]
#[case::populator_has_not_begun(
    World::rook().with(restored()).with(destination("media", "sonarr-dst").latest_image("image")),
    "awaiting_populator"
)]
#[case::populator_has_yet_to_hand_over(
    World::rook().with(restored()).with(claim("media", &prime().meta.name)),
    "awaiting_populator"
)]
#[case::populator_waits_in_silence(World::rook().with(restored()).with(prime()), "awaiting_populator")]
#[case::populators_claim_is_refused(
    World::rook().with(restored()).with(prime().uid("prime"))
        .refused("pvc-prime", log_of(LEADER_UID), at(-14), at(-1)),
    "operation_lock"
)]
#[case::populators_snapshot_is_unready(
    World::rook().with(restored()).with(prime().from_snapshot("image"))
        .with(image().unready().created(at(-5))),
    "snapshot_not_ready"
)]
#[case::another_populator(
    World::rook().with(stuck().filled_from(DataSource::Other)),
    "awaiting_populator"
)]
#[case::clone_of_a_claim(
    World::rook().with(stuck().filled_from(DataSource::Claim("radarr".into()))),
    "unknown"
)]
#[case::waits_for_a_consumer_that_has_come(
    World::rook().with(storage_class("wffc", DRIVER).waits_for_consumer()).with(stuck().class("wffc").node_selected()),
    "unknown"
)]
#[case::asked_of_the_driver_by_annotation(
    World::rook().with(storage_class("alias", "kubernetes.io/alias")).with(stuck().class("alias").provisioner(DRIVER)),
    "unknown"
)]
fn pending_claim_has_a_reason(#[case] world: World, #[case] reason: &str) {
    let stuck = world.stuck();
    let expected = format!("pending_claim {reason} sonarr");
    let claims: Vec<_> = stuck
        .iter()
        .filter(|found| found.starts_with("pending_claim"))
        .collect();
    assert_eq!(claims, [&expected], "of {stuck:?}");
}

#[rstest]
#[case::bound(World::rook().with(claim("media", "sonarr").created(at(-15))))]
#[case::young(World::rook().with(stuck().created(at(-10))))]
#[case::being_deleted(World::rook().with(stuck().deleting(at(-1))))]
#[case::waits_for_a_consumer(
    World::rook().with(storage_class("wffc", DRIVER).waits_for_consumer()).with(stuck().class("wffc"))
)]
#[case::of_an_unwatched_driver(World::rook().with(stuck().class("local-path")))]
#[case::asked_of_an_unwatched_driver(World::rook().with(stuck().provisioner(UNWATCHED)))]
#[case::asked_of_a_driver_that_nothing_but_the_claim_names(
    World::rook().with(storage_class("alias", "kubernetes.io/alias"))
        .with(stuck().class("alias").provisioner("made-up.rbd.csi.ceph.com"))
)]
#[case::of_an_unknown_class(World::rook().with(stuck().class("gone")))]
#[case::of_no_class(World::rook().with(stuck().class("")))]
#[case::bound_by_hand(World::rook().with(stuck().naming_a_volume()))]
#[case::the_populators_own(World::rook().with(restored().created(at(-1))).with(prime()))]
fn waiting_claim_is_no_finding(#[case] world: World) {
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[test]
fn stray_populator_claim_is_reported_itself() {
    let world = World::rook().with(prime());
    assert_eq!(world.stuck().len(), 1);
}

#[test]
fn unlisted_snapshot_is_not_missing() {
    let world = World::rook()
        .with(stuck().from_snapshot("image"))
        .reading(Kind::VolumeSnapshots, WatchState::Never);
    assert_eq!(world.stuck(), ["pending_claim unknown sonarr"]);
}

#[test]
fn claim_finding_has_driver_class_size_age_and_chain() {
    let world = World::rook()
        .with(restored())
        .with(prime().from_snapshot("image"))
        .with(image().unready().created(at(-5)));
    let found = world.found(&crate::config::Config::default(), at(0));
    let [found] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(found.driver.as_deref(), Some(DRIVER));
    assert_eq!(found.class.as_deref(), Some("ceph-block"));
    assert_eq!((found.bytes, found.since), (5 << 30, at(-15)));
    let chain: Vec<_> = found.chain.iter().map(ToString::to_string).collect();
    let prime = format!("PersistentVolumeClaim media/{}", prime().meta.name);
    assert_eq!(chain, [prime, "VolumeSnapshot media/image".to_owned()]);
    assert_eq!(found.restores.as_ref().map(|it| &*it.name), Some("image"));
}

#[test]
fn restore_chain_leads_to_the_lock() {
    let world = World::rook()
        .with(stuck().from_snapshot("image"))
        .with(image())
        .with(content(&image()).handle("csi-snap-9"))
        .refused("csi-snap-9", event_on("media", "sonarr"), at(-15), at(-1));
    let found = world.found(&crate::config::Config::default(), at(0));
    let claim = found
        .iter()
        .find(|it| it.what.kind() == FindingKind::PendingClaim);
    let kinds: Vec<_> = claim.unwrap().chain.iter().map(|it| it.kind).collect();
    let way = [
        ObjectKind::VolumeSnapshot,
        ObjectKind::VolumeSnapshotContent,
    ];
    assert_eq!(kinds, way);
}

/// Pending for less than ten minutes, after the lock was found.
#[rstest]
#[case::its_own(
    World::rook().with(young())
        .refused("pvc-uid-claim-media-sonarr", event_on("media", "sonarr"), at(-8), at(-1)),
    "pending_claim operation_lock sonarr"
)]
#[case::that_of_the_claim_its_populator_made(
    World::rook().with(young().from_destination("sonarr-dst")).with(prime().created(at(-9)))
        .refused(&format!("pvc-{}", prime().meta.uid), log_of(LEADER_UID), at(-8), at(-1)),
    "pending_claim operation_lock sonarr"
)]
#[case::lock_of_the_source_snapshot(
    World::rook().with(young().from_snapshot("image"))
        .with(image().unready().created(at(-9))).with(content(&image()))
        .refused(&format!("snapshot-{}", image().meta.uid), log_of(LEADER_UID), at(-8), at(-1)),
    "pending_claim snapshot_not_ready sonarr"
)]
fn young_claim_behind_a_found_lock_is_stuck(#[case] world: World, #[case] found: &str) {
    let stuck = world.stuck();
    assert!(stuck.iter().any(|one| one == found), "{stuck:?}");
}

#[test]
fn lock_makes_no_other_young_claim_stuck() {
    let world = World::rook()
        .with(young())
        .with(claim("media", "locked").pending().created(at(-9)))
        .refused(
            "pvc-uid-claim-media-locked",
            log_of(LEADER_UID),
            at(-8),
            at(-1),
        );
    let stuck = world.stuck();
    assert!(
        !stuck.iter().any(|one| one.ends_with("sonarr")),
        "{stuck:?}"
    );
}

#[test]
fn young_claims_are_counted_until_they_are_stuck() {
    let count = |world: &World, namespace| {
        let config = crate::config::Config::default();
        let settings = crate::findings::DetectionSettings {
            detect: config.detect,
            drivers: config.drivers,
            one_shot: true,
        };
        crate::findings::young_claims(&world.0, &settings, namespace, at(0))
    };
    let world = World::rook().with(young());
    assert_eq!(count(&world, None), 1);
    assert_eq!(count(&world, Some("media")), 1);
    assert_eq!(count(&world, Some("backup")), 0);
    assert_eq!(count(&World::rook().with(stuck()), None), 0);
    // Only the filled claim is reported, as if it were stuck.
    let filled = World::rook()
        .with(restored().created(at(-9)))
        .with(prime().created(at(-9)));
    assert_eq!(count(&filled, None), 1);
}

fn young() -> Claim {
    stuck().created(at(-9))
}
