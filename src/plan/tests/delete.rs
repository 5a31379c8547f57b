//! Which failed snapshots are deleted, and each thing that protects one.

use rstest::rstest;

use super::{skipped, targets};
use crate::api::PlannedStep;
use crate::api::SkipReason;
use crate::config::{Config, DeleteScope};
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::model::records::{Protection, Snapshot};
use crate::plan::{snapshot_skip_reason, snapshots};

/// As VolSync calls it.
const NAME: &str = "volsync-a-src";

/// VolSync's own, dynamic, not ready since a quarter to two.
fn failed() -> Snapshot {
    snapshot("media", NAME, "a")
        .created(at(-15))
        .error(ErrorClass::Timeout)
}

fn world() -> World {
    World::rook()
        .with(claim("media", "a"))
        .with(source("media", "a"))
}

fn plan(world: &World, scope: DeleteScope) -> PlannedStep {
    let findings = world.found(&Config::default(), at(0));
    snapshots::plan(&world.0, &findings, &DRIVER.into(), scope)
}

#[rstest]
#[case::failed(world().with(failed()))]
#[case::with_a_content(world().with(failed()).with(content(&failed())))]
#[case::of_a_claim_that_is_gone(World::rook().with(source("media", "a")).with(failed()))]
fn a_failed_snapshot_of_volsyncs_is_deleted(#[case] world: World) {
    let step = plan(&world, DeleteScope::Volsync);
    assert_eq!(targets(&step), ["Delete VolumeSnapshot volsync-a-src"]);
    assert_eq!(
        step.targets[0].object.uid.to_string(),
        "uid-snapshot-media-volsync-a-src"
    );
    assert_eq!(skipped(&step), Vec::<String>::new());
}

#[rstest]
#[case::opted_out(world().with(failed().opted_out()), "opted out by label")]
#[case::its_namespace_opted_out(
    world().with(failed()).with(namespace("media").opted_out()),
    "opted out by label"
)]
#[case::do_not_delete(
    world().with(failed().protected(Protection::DoNotDelete)),
    "has the label volsync.backube/do-not-delete"
)]
#[case::populating(
    world().with(failed().protected(Protection::Populating)),
    "is in use by VolSync's populator"
)]
#[case::with_a_finalizer_that_keeps_it(
    world().with(failed().protected(Protection::Finalizer)),
    "has a finalizer of another controller"
)]
#[case::in_a_group(
    world().with(failed().protected(Protection::Group)),
    "is a member of a group snapshot"
)]
#[case::latest_image(
    world().with(failed()).with(destination("media", "d").latest_image(NAME)),
    "is the latestImage of a ReplicationDestination"
)]
#[case::retained(
    world().with(failed()).with(content(&failed()).retained()),
    "has deletionPolicy Retain: the storage snapshot would be left behind"
)]
#[case::of_no_driver_that_is_known(
    World::rook().with(source("media", "a")).with(failed().class("")),
    "its driver is unknown"
)]
fn protected_snapshot_is_skipped(
    #[case] world: World,
    #[case] why: &str,
    #[values(DeleteScope::Volsync, DeleteScope::All)] scope: DeleteScope,
) {
    let step = plan(&world, scope);
    assert_eq!(targets(&step), Vec::<String>::new());
    assert_eq!(skipped(&step), [format!("{NAME}: {why}")]);
}

#[rstest]
#[case::without_volsyncs_label(failed().by_somebody_else())]
#[case::without_a_source(failed().owner(None))]
fn foreign_snapshot_is_deleted_only_with_scope_all(#[case] snapshot: Snapshot) {
    let world = world().with(snapshot);
    let step = plan(&world, DeleteScope::Volsync);
    assert_eq!(targets(&step), Vec::<String>::new());
    assert_eq!(
        skipped(&step),
        ["volsync-a-src: was not made by VolSync for an existing ReplicationSource"]
    );
    assert_eq!(
        targets(&plan(&world, DeleteScope::All)),
        ["Delete VolumeSnapshot volsync-a-src"]
    );
}

/// Attack: snapshots of one's own by the thousand that bear VolSync's label and the uid of a source, to be more than a run may
/// delete. Defence: one counts only where that source is there and makes snapshots of that name, of which there is one.
#[rstest]
#[case::of_a_source_that_is_not_there(failed().owner(Some("uid-made-up")))]
#[case::of_the_source_of_another_namespace(failed().owner(Some("uid-source-ai-a")))]
#[case::of_a_name_the_source_does_not_make(snapshot("media", "volsync-b-src", "a").created(at(-15)).error(ErrorClass::Timeout))]
fn a_forged_snapshot_is_not_volsyncs(#[case] snapshot: Snapshot) {
    let name = snapshot.meta.name.clone();
    let world = world().with(source("ai", "a")).with(snapshot);
    let step = plan(&world, DeleteScope::Volsync);
    assert_eq!(targets(&step), Vec::<String>::new());
    assert!(skipped(&step)[0].starts_with(&*name));
}

#[rstest]
#[case::of_another_driver(world().with(failed().class("csi-ceph-filesystem")))]
#[case::going_already(world().with(failed().deleting(at(-1))))]
#[case::young(world().with(failed().created(at(-9))))]
#[case::still_processed(
    world().with(snapshot("media", NAME, "a").unready().created(at(-15))).with(content(&failed()).handle("csi-1"))
)]
fn snapshot_without_finding_is_not_listed(#[case] world: World) {
    let step = plan(&world, DeleteScope::All);
    assert_eq!((targets(&step).len(), skipped(&step).len()), (0, 0));
}

/// What is deleted would come back, or would not be taken either.
#[rstest]
#[case::of_a_storage_volume_that_is_gone(
    world().with(failed().error(ErrorClass::SourceMissing)), "its source does not exist"
)]
#[case::of_an_unbound_claim(
    world().with(failed().error(ErrorClass::SourceUnbound)), "its PersistentVolumeClaim has no volume yet"
)]
#[case::accepted_long_ago(
    world().with(failed().created(at(-400))).with(content(&failed()).handle("csi-1").error(ErrorClass::Other)),
    "is still being processed by the driver"
)]
#[case::that_an_idle_snapshotter_never_saw(
    world().with(snapshot("media", NAME, "a").without_status().created(at(-15)))
        .with(content(&failed()).unseen()),
    "cannot be replaced: the csi-snapshotter of its driver is idle"
)]
fn a_snapshot_that_a_deletion_cannot_help_is_not_deleted(#[case] world: World, #[case] why: &str) {
    let step = plan(&world, DeleteScope::All);
    assert_eq!(targets(&step), Vec::<String>::new());
    assert_eq!(skipped(&step), [format!("{NAME}: {why}")]);
}

/// Asked again, on the object as it is then, before each deletion.
#[rstest]
#[case::ready(snapshot("media", NAME, "a"), SkipReason::Ready)]
#[case::pre_provisioned(failed().pre_provisioned(), SkipReason::PreProvisioned)]
#[case::accepted_by_the_driver(
    snapshot("media", NAME, "a").unready(),
    SkipReason::Processing
)]
#[case::accepted_by_the_driver_beside_a_stale_error(failed(), SkipReason::Processing)]
fn planned_snapshot_that_changed_is_kept(#[case] now: Snapshot, #[case] reason: SkipReason) {
    let world = world().with(content(&now).handle("csi-1"));
    assert_eq!(
        snapshot_skip_reason(&world.0, &now, DeleteScope::All),
        Some(reason)
    );
}
