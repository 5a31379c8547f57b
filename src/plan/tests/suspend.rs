//! Which sources are held by which switch, and which are spared.

use rstest::rstest;

use super::{spared, targets};
use crate::config::SuspendMethod;
use crate::model::fixture::*;
use crate::model::records::{Mover, Source};
use crate::model::{Change, SourceSchema};
use crate::plan::{CannotPlan, PlannedStep, orphans, suspend};

const PAUSED: &str = "Hold(Paused) ReplicationSource";
const TRIGGER: &str = "Hold(CopyTrigger) PersistentVolumeClaim";

fn plan(world: &World) -> PlannedStep {
    suspend::plan(&world.0, &DRIVER.into(), SuspendMethod::Auto).unwrap()
}

/// One source and its claim.
fn world() -> World {
    World::rook()
        .with(source("media", "a"))
        .with(claim("media", "a"))
}

#[test]
fn a_source_is_paused_and_its_claim_is_kept_from_being_copied() {
    let step = plan(&world());
    assert_eq!(
        targets(&step),
        [format!("{PAUSED} a"), format!("{TRIGGER} a")]
    );
    assert_eq!(spared(&step), Vec::<String>::new());
    assert_eq!(step.targets[0].object.uid.to_string(), "uid-source-media-a");
    assert_eq!(step.targets[1].object.uid.to_string(), "uid-claim-media-a");
}

#[test]
fn what_carries_a_mark_that_cannot_be_read_is_spared() {
    let mut of_claim = claim("media", "b");
    of_claim.unreadable_mark = true;
    let world = world()
        .with(marked(source("media", "a")))
        .with(source("media", "b"))
        .with(of_claim);
    let step = plan(&world);
    assert_eq!(targets(&step), [format!("{PAUSED} b")]);
    let why = "carries a mark of a hold that cannot be read";
    assert_eq!(spared(&step), [format!("a: {why}"), format!("b: {why}")]);
}

#[rstest]
#[case::its_claim_is_missing(World::rook().with(source("media", "a")))]
#[case::it_copies_nothing(world().with(source("media", "a").direct()))]
#[case::it_names_no_claim(world().with(source("media", "a").of("")))]
fn a_source_is_paused_alone_where(#[case] world: World) {
    assert_eq!(targets(&plan(&world)), [format!("{PAUSED} a")]);
}

/// The fork's kopia mover takes `paused` for a completed backup.
#[test]
fn kopia_is_held_through_its_claim_alone() {
    let step = plan(&world().with(source("media", "a").mover(Mover::Kopia)));
    assert_eq!(targets(&step), [format!("{TRIGGER} a")]);
}

#[test]
fn kopia_that_cannot_be_held_is_named() {
    let step = plan(&world().with(source("media", "a").mover(Mover::Kopia).direct()));
    assert_eq!(targets(&step), Vec::<String>::new());
    let why =
        "a: kopia takes paused for a completed backup, and there is no claim of its own to hold";
    assert_eq!(spared(&step), [why]);
}

#[test]
fn a_claim_two_sources_share_is_held_once() {
    let step = plan(&world().with(source("media", "a-r2").of("a")));
    let expected = [
        format!("{PAUSED} a"),
        format!("{TRIGGER} a"),
        format!("{PAUSED} a-r2"),
    ];
    assert_eq!(targets(&step), expected);
}

#[test]
fn a_claim_that_is_being_deleted_is_held_too() {
    let step = plan(&world().with(claim("media", "a").deleting(at(-5))));
    assert_eq!(targets(&step).len(), 2);
}

#[rstest]
#[case::paused_by_a_person(
    world().with(source("media", "a").paused()),
    &["Hold(CopyTrigger) PersistentVolumeClaim a"],
    "a: switched off before, by somebody else"
)]
#[case::somebody_elses_copy_trigger(
    world().with(claim("media", "a").copy_trigger()),
    &["Hold(Paused) ReplicationSource a"],
    "a: has a copy trigger of somebody else's"
)]
#[case::opted_out(world().with(source("media", "a").opted_out()), &[], "a: opted out by label")]
#[case::its_claim_opted_out(
    world().with(claim("media", "a").opted_out()),
    &["Hold(Paused) ReplicationSource a"],
    "a: opted out by label"
)]
#[case::its_namespace_opted_out(world().with(namespace("media").opted_out()), &[], "a: opted out by label")]
#[case::syncthing(
    world().with(source("media", "a").mover(Mover::Syncthing)),
    &[],
    "a: syncthing makes no snapshots and ignores paused"
)]
#[case::external(world().with(source("media", "a").mover(Mover::External)), &[], "a: synchronised outside VolSync")]
#[case::unknown_mover(
    world().with(source("media", "a").mover(Mover::Unknown)),
    &[],
    "a: has no mover that is known here"
)]
#[case::being_deleted(world().with(source("media", "a").deleting(at(-1))), &[], "a: is being deleted")]
fn what_is_not_ours_is_spared(#[case] world: World, #[case] held: &[&str], #[case] why: &str) {
    let step = plan(&world);
    assert_eq!(targets(&step), held);
    assert_eq!(spared(&step), [why]);
}

/// Nothing is to be done to it, and a hold on the claim would stop it all the same.
#[rstest]
#[case::opted_out(
    source("media", "z").of("a").opted_out(),
    "a: is shared with a source that opted out by label",
    "z: opted out by label"
)]
#[case::marked(
    marked(source("media", "z").of("a")),
    "a: is shared with a source whose mark of a hold cannot be read",
    "z: carries a mark of a hold that cannot be read"
)]
fn a_source_that_is_not_to_be_touched_is_not_held_through_the_claim_it_shares(
    #[case] other: Source,
    #[case] claim: &str,
    #[case] itself: &str,
) {
    let step = plan(&world().with(other));
    assert_eq!(targets(&step), [format!("{PAUSED} a")]);
    assert_eq!(spared(&step), [claim, itself]);
}

/// By what cannot be read.
fn marked(mut source: Source) -> Source {
    source.unreadable_mark = true;
    source
}

#[test]
fn an_orphan_whose_mark_cannot_be_read_is_not_deleted() {
    let why = |source: Source| orphans::why_source_kept(&World::rook().0, &source);
    assert_eq!(why(source("media", "a")), None);
    let why = why(marked(source("media", "a"))).unwrap();
    assert_eq!(why, "carries a mark of a hold that cannot be read");
}

#[rstest]
#[case::of_an_earlier_run("earlier")]
fn a_hold_is_taken_over(#[case] run: &str) {
    let step = plan(
        &World::rook()
            .with(source("media", "a").held_by(run, at(60)))
            .with(claim("media", "a").held_by(run, at(60))),
    );
    assert_eq!(
        targets(&step),
        [format!("{PAUSED} a"), format!("{TRIGGER} a")]
    );
}

#[rstest]
#[case::of_another_driver("ceph-filesystem", &[])]
#[case::of_nobody_knows_which("gone", &["a", "a"])]
fn a_source_whose_claim_is(#[case] class: &str, #[case] held: &[&str]) {
    let step = plan(&world().with(claim("media", "a").class(class)));
    let names: Vec<_> = step
        .targets
        .iter()
        .map(|target| &*target.object.name)
        .collect();
    assert_eq!(names, held);
    assert_eq!(spared(&step), Vec::<String>::new());
}

#[test]
fn sources_come_by_namespace_and_name() {
    let world = World::rook()
        .with(source("selfhosted", "a"))
        .with(source("media", "b"))
        .with(source("media", "a"));
    let step = plan(&world);
    let places = step
        .targets
        .iter()
        .map(|t| format!("{}/{}", t.object.namespace, t.object.name));
    assert_eq!(
        places.collect::<Vec<_>>(),
        ["media/a", "media/b", "selfhosted/a"]
    );
}

#[test]
fn spec_suspend_is_taken_where_the_crd_has_it_and_is_enough() {
    let world = world()
        .with(source("media", "k").mover(Mover::Kopia))
        .with(Change::SourceSchema(SourceSchema::Suspend));
    let suspend = "Hold(Suspend) ReplicationSource";
    assert_eq!(
        targets(&plan(&world)),
        [format!("{suspend} a"), format!("{suspend} k")]
    );
}

#[test]
fn method_paused_leaves_claims_alone() {
    let step = suspend::plan(&world().0, &DRIVER.into(), SuspendMethod::Paused).unwrap();
    assert_eq!(targets(&step), [format!("{PAUSED} a")]);
}

#[rstest]
#[case::neither(SourceSchema::Neither, CannotPlan::NoSwitch)]
#[case::unread(SourceSchema::Unknown, CannotPlan::SchemaUnknown)]
fn without_a_field_to_hold_by_there_is_no_plan(
    #[case] schema: SourceSchema,
    #[case] why: CannotPlan,
) {
    let world = world().with(Change::SourceSchema(schema));
    let plan = suspend::plan(&world.0, &DRIVER.into(), SuspendMethod::Auto);
    assert_eq!(plan, Err(why));
}
