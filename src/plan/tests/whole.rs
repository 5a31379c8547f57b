//! The plan as a whole: what is awaited, and what its hash names.

use rstest::rstest;

use super::targets;
use crate::api::SharedStr;
use crate::api::{Plan, StepName};
use crate::config::Config;
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::plan::{CannotPlan, MAX_LISTED, lint, make};

fn plan_at(world: &World, minutes: i64) -> Result<Plan, CannotPlan> {
    let config = Config::default();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let findings = world.found(&config, at(minutes));
    make(
        &world.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &config,
        at(minutes),
    )
}

#[test]
fn the_playbook_is_planned_step_by_step() {
    let plan = plan_at(&World::jam(), 0).unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps, StepName::ALL[..5]);
    let sizes: Vec<_> = plan.steps.iter().map(|step| step.targets.len()).collect();
    assert_eq!(sizes, [0, 5, 1, 2, 0]);
    assert_eq!(plan.steps[0].held_sources().count(), 3);
    assert_eq!(
        targets(&plan.steps[3]),
        [
            "Await PersistentVolumeClaim sonarr",
            "Touch VolumeSnapshotContent snapcontent-uid-snapshot-media-volsync-prowlarr-src"
        ]
    );
    assert_eq!(lint::lint(&plan), []);
}

#[test]
fn nobody_plans_for_a_driver_that_is_not_watched() {
    let config = Config::default();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let driver = SharedStr::from(UNWATCHED);
    let plan = make(&World::jam().0, &[], playbook, &driver, &config, at(0));
    assert_eq!(plan, Err(CannotPlan::UnwatchedDriver(driver)));
}

#[test]
fn the_hash_stays_while_time_passes() {
    let (now, later) = (
        plan_at(&World::jam(), 0).unwrap(),
        plan_at(&World::jam(), 1).unwrap(),
    );
    assert_ne!(now.made_at, later.made_at);
    assert_eq!(now.hash, later.hash);
}

#[rstest]
#[case::another_source(World::jam().with(source("media", "new")))]
#[case::another_pod(World::jam().with(replica(PROVISIONER, "7d9f8b6c5d", "third")))]
#[case::another_owner(World::jam().with(deployment(PROVISIONER).owned()))]
#[case::a_snapshot_less(World::jam().with(snapshot("media", "volsync-prowlarr-src", "prowlarr")))]
fn the_hash_names_everything_that_is_acted_on(#[case] world: World) {
    let hash = |world: &World| plan_at(world, 0).unwrap().hash;
    assert_ne!(hash(&world), hash(&World::jam()));
}

/// Claims come and go all the time: an approval must not be void because of it.
#[test]
fn the_hash_does_not_name_the_claims_that_are_watched() {
    let hash = |world: &World| plan_at(world, 0).unwrap().hash;
    let one_less = World::jam().with(claim("media", "sonarr"));
    let one_more = World::jam().with(pending());
    assert_eq!(
        [hash(&one_less), hash(&one_more)],
        [hash(&World::jam()), hash(&World::jam())]
    );
}

#[test]
fn the_plan_names_the_locks_that_were_found() {
    let locks = plan_at(&World::jam(), 0).unwrap().locks;
    let locks: Vec<_> = locks.iter().map(ToString::to_string).collect();
    assert_eq!(
        locks,
        [
            "pvc-uid-claim-media-sonarr",
            "snapshot-uid-snapshot-media-volsync-prowlarr-src"
        ]
    );
}

#[rstest]
#[case::of_what_the_run_deletes(World::jam(), &["media-volsync-prowlarr-src"])]
#[case::of_what_is_being_deleted(
    World::rook().with(source("media", "a")).with(claim("media", "a")).with(going()).with(content(&going()).deleting(at(-1))),
    &["media-volsync-a-src"]
)]
#[case::of_another_driver(
    World::rook().with(source("media", "a")).with(claim("media", "a")).with(going())
        .with(content(&going()).driver(OTHER_DRIVER).deleting(at(-1))),
    &[]
)]
#[case::of_somebody_elses(
    World::rook().with(going().by_somebody_else()).with(content(&going()).deleting(at(-1))), &[]
)]
#[case::that_opted_out(
    World::rook().with(source("media", "a")).with(claim("media", "a")).with(going().opted_out())
        .with(content(&going()).deleting(at(-1))),
    &[]
)]
fn a_deletion_is_freed(#[case] world: World, #[case] contents: &[&str]) {
    let plan = plan_at(&world, 0).unwrap();
    let step = plan.step(StepName::VerifyProvisioning).unwrap();
    let expected: Vec<_> = contents
        .iter()
        .map(|of| format!("Touch VolumeSnapshotContent snapcontent-uid-snapshot-{of}"))
        .collect();
    let mut touched = targets(step);
    touched.retain(|target| target.starts_with("Touch"));
    assert_eq!(touched, expected);
}

fn going() -> crate::model::records::Snapshot {
    snapshot("media", "volsync-a-src", "a").deleting(at(-1))
}

#[test]
fn the_hash_is_short_and_plain() {
    let hash = plan_at(&World::jam(), 0).unwrap().hash;
    assert_eq!(hash.len(), 16);
    assert!(hash.chars().all(|c| c.is_ascii_hexdigit()));
}

fn pending() -> crate::model::records::Claim {
    claim("media", "new").pending().created(at(-15))
}

#[rstest]
#[case::can_be_bound(World::rook().with(pending()), &["new"])]
#[case::is_a_second_old(World::rook().with(pending().created(at(0))), &["new"])]
#[case::opted_out(World::rook().with(pending().opted_out()), &[])]
#[case::from_a_snapshot_that_is_being_processed(
    World::rook().with(pending().from_snapshot("s"))
        .with(content(&snapshot("media", "s", "a")).handle("csi-1"))
        .with(snapshot("media", "s", "a").unready().created(at(-5))),
    &[]
)]
#[case::from_an_unready_snapshot(
    World::rook().with(pending().from_snapshot("s"))
        .with(snapshot("media", "s", "a").unready().created(at(-5))),
    &["new"]
)]
#[case::from_a_missing_snapshot(World::rook().with(pending().from_snapshot("gone")), &[])]
#[case::from_a_destination_without_image(World::rook().with(pending().from_destination("gone")), &[])]
#[case::that_the_populator_is_filling(
    World::rook().with(pending().from_destination("d"))
        .with(claim("media", &format!("vs-prime-{}", pending().meta.uid)).pending().created(at(-5))),
    &["new"]
)]
#[case::of_another_driver(World::rook().with(pending().class("ceph-filesystem")), &[])]
fn a_claim_is_awaited_when_it(#[case] world: World, #[case] names: &[&str]) {
    let plan = plan_at(&world, 0).unwrap();
    let step = plan.step(StepName::VerifyProvisioning).unwrap();
    let awaited: Vec<_> = step
        .targets
        .iter()
        .map(|target| &*target.object.name)
        .collect();
    assert_eq!(awaited, names);
}

/// Attack: objects of one's own by the thousand that a plan does not act on: sources and failed snapshots that opt out, claims
/// that are never provisioned. Defence: a plan lists the first of them, so that it can be recorded.
#[test]
fn any_number_of_objects_that_are_not_acted_on_can_be_planned() {
    let (minutes, mut world) = (at, World::jam());
    for number in 0..6_000 {
        let name = format!("{number:0>60}");
        let failed = snapshot("tenant", &name, &name).error(ErrorClass::Timeout);
        world = world
            .with(source("tenant", &name).opted_out())
            .with(failed.created(minutes(-60)).opted_out())
            .with(claim("tenant", &name).pending());
    }
    let plan = plan_at(&world, 0).unwrap();
    assert_eq!(lint::lint(&plan), []);
    let listed = |step: StepName| plan.step(step).unwrap().skipped.len();
    assert_eq!(listed(StepName::SuspendSources), MAX_LISTED);
    assert_eq!(listed(StepName::DeleteFailedSnapshots), MAX_LISTED);
    let jam = plan_at(&World::jam(), 0).unwrap();
    assert_eq!(plan.hash, jam.hash);
}
