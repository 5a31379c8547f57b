//! Orphaned and held sources, and sources that only seem orphaned.

use rstest::rstest;

use crate::config::Config;
use crate::model::fixture::*;
use crate::model::records::{Mover, Source};
use crate::model::{Change, Delta};

/// A source whose claim has been answered with 404 for a quarter of an hour.
fn orphan() -> World {
    World::rook().with(source("media", "lost")).not_found(
        "media",
        "lost",
        &[at(-15), at(-8), at(-1)],
    )
}

#[rstest]
#[case::claim_missing(orphan(), "claim_missing")]
#[case::claim_terminating(
    World::rook().with(source("media", "lost")).with(claim("media", "lost").deleting(at(-11))),
    "claim_terminating"
)]
#[case::no_mover_that_is_known(orphan().with(source("media", "lost").mover(Mover::Unknown)), "claim_missing")]
#[case::kopia(orphan().with(source("media", "lost").mover(Mover::Kopia)), "claim_missing")]
fn orphaned_source_has_a_reason(#[case] world: World, #[case] reason: &str) {
    assert_eq!(world.stuck(), [format!("orphaned_source {reason} lost")]);
}

#[rstest]
#[case::its_snapshot_class(source("media", "lost").snapshots_by("csi-ceph-blockpool"), Some(DRIVER))]
#[case::its_storage_class(source("media", "lost").through("ceph-filesystem"), Some(OTHER_DRIVER))]
#[case::no_class_it_names(source("media", "lost"), None)]
#[case::no_class_there_is(source("media", "lost").through("gone").snapshots_by("gone"), None)]
fn orphan_driver_is_derived_from_its_classes(#[case] source: Source, #[case] driver: Option<&str>) {
    let world = orphan()
        .with(snapshot_class("csi-ceph-blockpool", DRIVER))
        .with(source);
    let config = Config::default();
    let found = world.found(&config, at(0));
    let orphans: Vec<_> = found.iter().map(|it| it.driver.as_deref()).collect();
    assert_eq!(orphans, [driver]);
}

#[rstest]
#[case::existing_claim(orphan().with(claim("media", "lost")))]
#[case::without_a_look_up(World::rook().with(source("media", "lost")))]
#[case::asked_once(World::rook().with(source("media", "lost")).not_found("media", "lost", &[at(-15)]))]
#[case::asked_twice_at_once(
    World::rook().with(source("media", "lost")).not_found("media", "lost", &[at(-15), at(-15)])
)]
#[case::missing_for_a_short_while(
    World::rook().with(source("media", "lost")).not_found("media", "lost", &[at(-9), at(-1)])
)]
#[case::terminating_for_a_short_while(
    World::rook().with(source("media", "lost")).with(claim("media", "lost").deleting(at(-10)))
)]
#[case::young(orphan().with(source("media", "lost").created(at(-10))))]
#[case::being_deleted(orphan().with(source("media", "lost").deleting(at(-1))))]
#[case::external(orphan().with(source("media", "lost").mover(Mover::External)))]
#[case::syncthing(orphan().with(source("media", "lost").mover(Mover::Syncthing)))]
#[case::names_no_claim(orphan().with(source("media", "lost").of("")))]
#[case::terminating_namespace(orphan().with(namespace("media").terminating()))]
#[case::another_namespaces_claim_is_missing(
    World::rook().with(source("media", "lost")).not_found("selfhosted", "lost", &[at(-15), at(-1)])
)]
fn seemingly_orphaned_source_is_no_finding(#[case] world: World) {
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[rstest]
#[case::asked_twice(&[at(-1), at(0)], &["orphaned_source claim_missing lost"])]
#[case::asked_once(&[at(0)], &[])]
fn one_shot_reports_a_missing_claim_without_waiting(
    #[case] asked: &[jiff::Timestamp],
    #[case] expected: &[&str],
) {
    let world = World::rook().with(source("media", "lost"));
    let world = world.not_found("media", "lost", asked);
    assert_eq!(world.glanced(), expected);
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[test]
fn any_response_but_404_restarts_the_count() {
    let refused = Change::ClaimLookedUp {
        namespace: "media".into(),
        name: "lost".into(),
        missing: false,
        at: at(-3),
    };
    let world = orphan()
        .with(refused)
        .not_found("media", "lost", &[at(-2), at(-1)]);
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[test]
fn held_source_is_shown_but_not_stuck() {
    let held = source("media", "a");
    let world = World::rook()
        .with(claim("media", "a"))
        .with(hold("r", at(60), &[&held]))
        .with(held);
    assert_eq!(world.stuck(), ["held_source held a"]);
    let found = world.found(&crate::config::Config::default(), at(0));
    assert_eq!((found[0].what.is_stuck(), found[0].since), (false, at(-20)));
    assert_eq!(found[0].bytes, 5 << 30);
    assert_eq!(found[0].evidence, ["held by r until 2026-11-01T03:00:00Z"]);
}

/// The uid decides: a source that was deleted and re-created is not held.
#[test]
fn recreated_source_is_not_shown_as_held() {
    let world = World::rook()
        .with(claim("media", "a"))
        .with(hold("r", at(60), &[&source("media", "a")]))
        .with(source("media", "a").uid("new"));
    assert_eq!(world.stuck(), Vec::<String>::new());
}

fn deleted(namespace: &str, name: &str) -> Change {
    Change::Claim(Delta::Delete {
        namespace: namespace.into(),
        name: name.into(),
    })
}

#[rstest]
#[case::it_came_back_and_went_a_moment_ago(
    orphan().with(claim("media", "lost")).with(deleted("media", "lost")).not_found("media", "lost", &[at(0), at(0)])
)]
#[case::an_answer_from_before_it_came_back_arrived_late(
    orphan().with(claim("media", "lost")).not_found("media", "lost", &[at(-14)])
        .with(deleted("media", "lost")).not_found("media", "lost", &[at(0)])
)]
#[case::no_look_up_for_half_an_hour(
    World::rook().with(source("media", "lost")).not_found("media", "lost", &[at(-60), at(-50), at(-19), at(-12)])
)]
fn lookups_before_a_gap_do_not_count(#[case] world: World) {
    assert_eq!(world.stuck(), Vec::<String>::new());
}

#[test]
fn absences_end_with_the_last_source_that_names_the_claim() {
    let mut world = orphan().with(source("media", "other").of("lost"));
    let count = |world: &World| world.0.absences.iter().count();
    world.0.forget(at(0));
    assert_eq!(count(&world), 1);
    world = world.with(source("media", "other").of("kept"));
    world.0.forget(at(0));
    assert_eq!(count(&world), 1);
    world = world.with(source("media", "lost").of("kept"));
    world.0.forget(at(0));
    assert_eq!(count(&world), 0);
}
