//! The plan as a whole: what is awaited, and what its hash names.

use rstest::rstest;

use super::targets;
use crate::config::Config;
use crate::model::Sym;
use crate::model::fixture::*;
use crate::plan::{CannotPlan, Plan, StepName, lint, make};

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
    assert_eq!(sizes, [6, 1, 3, 1, 0]);
    assert_eq!(
        targets(&plan.steps[3]),
        ["Await PersistentVolumeClaim sonarr"]
    );
    assert_eq!(lint::lint(&plan), Vec::<String>::new());
}

#[test]
fn nobody_plans_for_a_driver_that_is_not_watched() {
    let config = Config::default();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let driver = Sym::from(UNWATCHED);
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
#[case::a_source_made_anew(World::jam().with(source("media", "prowlarr").uid("new")))]
#[case::another_switch(World::jam().with(crate::model::Change::SourceSchema(crate::model::SourceSchema::Suspend)))]
#[case::another_pod(World::jam().with(replica(PROVISIONER, "7d9f8b6c5d", "third")))]
#[case::another_owner(World::jam().with(deployment(PROVISIONER).owned()))]
#[case::a_snapshot_less(World::jam().with(snapshot("media", "volsync-prowlarr-src", "prowlarr")))]
#[case::a_claim_less(World::jam().with(claim("media", "sonarr")))]
fn the_hash_names_every_target(#[case] world: World) {
    let hash = |world: &World| plan_at(world, 0).unwrap().hash;
    assert_ne!(hash(&world), hash(&World::jam()));
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
