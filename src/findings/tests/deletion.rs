//! Stuck deletions: every reason, the object of each finding, and deletions that are only slow.

use rstest::rstest;

use crate::config::Config;
use crate::findings::FindingKind;
use crate::model::fixture::*;
use crate::model::records::{Protection, Snapshot};

/// A ready snapshot that has been Terminating since 01:45.
fn going() -> Snapshot {
    snapshot("media", "volsync-prowlarr-src", "prowlarr").deleting(at(-15))
}

fn world() -> World {
    World::rook()
        .with(claim("media", "prowlarr"))
        .with(source("media", "prowlarr"))
}

#[rstest]
#[case::the_driver_fails_to_delete(
    world().with(going()).with(content(&going()).handle("csi-1").deleting(at(-15))), "other"
)]
#[case::it_is_not_ready_either(
    world().with(going().unready()).with(content(&going())), "other"
)]
#[case::its_handle_is_locked(
    world().with(going()).with(content(&going()).handle("csi-1").deleting(at(-15)))
        .refused("csi-1", log_of(LEADER_UID), at(-12), at(-1)),
    "operation_lock"
)]
#[case::its_creation_is_locked(
    world().with(going().unready()).with(content(&going()).being_created())
        .refused(&format!("snapshot-{}", going().meta.uid), log_of(LEADER_UID), at(-12), at(-1)),
    "operation_lock"
)]
#[case::a_sidecar_lost_track_of_it(
    world().with(going()).with(content(&going()).handle("csi-1").being_created().deleting(at(-15))),
    "being_created"
)]
#[case::foreign_finalizer(
    world().with(going().protected(Protection::Finalizer)).with(content(&going()).handle("csi-1")),
    "finalizer"
)]
#[case::a_claim_is_restored_from_it(
    world().with(going()).with(content(&going()).handle("csi-1"))
        .with(claim("media", "restore").pending().from_snapshot("volsync-prowlarr-src").created(at(-1))),
    "in_use"
)]
fn stuck_deletion_has_a_reason(#[case] world: World, #[case] reason: &str) {
    let found = world.found(&Config::default(), at(0));
    let found: Vec<_> = found
        .iter()
        .filter(|finding| finding.what.kind() == FindingKind::DeletionStuck)
        .collect();
    assert_eq!(found.len(), 1, "{:?}", world.stuck());
    assert_eq!(found[0].what.reason(), reason);
    assert_eq!(found[0].since, at(-15));
    assert_eq!(found[0].driver.as_deref(), Some(DRIVER));
    let chain: Vec<_> = found[0].chain.iter().map(ToString::to_string).collect();
    let expected = [
        "ReplicationSource media/prowlarr",
        "PersistentVolumeClaim media/prowlarr",
        "VolumeSnapshotContent snapcontent-uid-snapshot-media-volsync-prowlarr-src",
    ];
    assert_eq!(chain, expected);
    assert!(
        !world
            .stuck()
            .iter()
            .any(|it| it.starts_with("failed_snapshot")),
        "{:?}",
        world.stuck()
    );
}

#[test]
fn content_without_its_snapshot_is_found() {
    let world = world().with(content(&going()).handle("csi-1").deleting(at(-15)));
    assert_eq!(
        world.stuck(),
        ["deletion_stuck other snapcontent-uid-snapshot-media-volsync-prowlarr-src"]
    );
}

#[rstest]
#[case::jumped_recently(world().with(going().deleting(at(-10))))]
#[case::young_deletion_of_a_content(world().with(content(&going()).handle("csi-1").deleting(at(-10))))]
#[case::of_an_unwatched_driver(
    world().with(going()).with(content(&going()).handle("csi-1").driver(UNWATCHED).deleting(at(-15)))
)]
#[case::of_a_content_of_an_unwatched_driver(
    world().with(content(&going()).handle("csi-1").driver(UNWATCHED).deleting(at(-15)))
)]
fn young_deletion_is_no_finding(#[case] world: World) {
    assert_eq!(world.stuck(), Vec::<String>::new());
}
