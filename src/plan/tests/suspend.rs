//! Which sources are held, and which are left out.

use rstest::rstest;

use super::skipped;
use crate::api::PlannedStep;
use crate::config::HoldScope;
use crate::model::fixture::*;
use crate::model::records::Mover;
use crate::plan::suspend;

fn plan(world: &World) -> PlannedStep {
    suspend::plan(&world.0, &DRIVER.into(), HoldScope::Sources)
}

/// Held sources as `namespace/name`.
fn held(step: &PlannedStep) -> Vec<String> {
    let sources = step.held_sources();
    sources
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect()
}

/// One source and its claim.
fn world() -> World {
    World::rook()
        .with(source("media", "a"))
        .with(claim("media", "a"))
}

#[rstest]
#[case::as_it_should_be(world())]
#[case::its_claim_is_missing(World::rook().with(source("media", "a")))]
#[case::its_claim_is_being_deleted(world().with(claim("media", "a").deleting(at(-5))))]
#[case::it_copies_nothing(world().with(source("media", "a").direct()))]
#[case::it_names_no_claim(world().with(source("media", "a").of("")))]
#[case::kopia(world().with(source("media", "a").mover(Mover::Kopia)))]
#[case::held_by_a_person(world().with(hold("p", at(60), &[&source("media", "a")]).planned("ada")))]
fn source_is_held(#[case] world: World) {
    let step = plan(&world);
    assert_eq!(held(&step), ["media/a"]);
    assert_eq!(skipped(&step), Vec::<String>::new());
    assert!(step.targets.is_empty() && step.snapshot_classes.is_empty());
}

#[rstest]
#[case::opted_out(world().with(source("media", "a").opted_out()), "a: opted out by label")]
#[case::its_claim_opted_out(world().with(claim("media", "a").opted_out()), "a: its claim opted out by label")]
#[case::its_namespace_opted_out(world().with(namespace("media").opted_out()), "a: opted out by label")]
#[case::syncthing(
    world().with(source("media", "a").mover(Mover::Syncthing)),
    "a: uses syncthing, which takes no snapshots"
)]
#[case::external(world().with(source("media", "a").mover(Mover::External)), "a: is synchronised outside VolSync")]
#[case::unknown_mover(
    world().with(source("media", "a").mover(Mover::Unknown)),
    "a: has an unknown mover"
)]
#[case::being_deleted(world().with(source("media", "a").deleting(at(-1))), "a: is being deleted")]
fn source_is_left_out(#[case] world: World, #[case] why: &str) {
    let step = plan(&world);
    assert_eq!(held(&step), Vec::<String>::new());
    assert_eq!(skipped(&step), [why]);
}

#[rstest]
#[case::of_another_driver("ceph-filesystem", &[])]
#[case::of_nobody_knows_which("gone", &["media/a"])]
fn a_source_whose_claim_is(#[case] class: &str, #[case] expected: &[&str]) {
    let step = plan(&world().with(claim("media", "a").class(class)));
    assert_eq!(held(&step), expected);
    assert_eq!(skipped(&step), Vec::<String>::new());
}

#[test]
fn sources_come_by_namespace_and_name() {
    let world = World::rook()
        .with(source("selfhosted", "a"))
        .with(source("media", "b"))
        .with(source("media", "a"));
    assert_eq!(held(&plan(&world)), ["media/a", "media/b", "selfhosted/a"]);
}

#[test]
fn scope_classes_holds_the_classes_of_the_driver_too() {
    let step = suspend::plan(&world().0, &DRIVER.into(), HoldScope::Classes);
    assert_eq!(held(&step), ["media/a"]);
    assert_eq!(step.snapshot_classes, ["csi-ceph-block".into()]);
}
