//! Every way a hold may stand with its run, its claim and the time.

use rstest::rstest;

use super::{Due, ReleasePolicy, due, held_objects, unreadable};
use crate::api::remediation::{Phase, Remediation, StepPhase, StepRecord};
use crate::config::{Percent, ResumeWhen};
use crate::holds::Switch;
use crate::model::fixture::*;
use crate::model::records::{Claim, Pod, Source};
use crate::model::{Change, Delta, Kind, ObjectKind, Reading};
use crate::plan::{Action, Plan, PlannedStep, StepName, Target};

const RUNNING: ReleasePolicy = policy(ResumeWhen::Running);

const fn policy(when: ResumeWhen) -> ReleasePolicy {
    ReleasePolicy {
        when,
        all_above: None,
    }
}

/// Held by the run `r` until three.
fn held() -> Source {
    source("media", "a").held_by("r", at(60))
}

/// A held source and its claim.
fn world() -> World {
    World::rook().with(held()).with(claim("media", "a"))
}

/// The app of the claim.
fn app() -> Pod {
    pod("media", "a-0", &["a"])
}

fn resuming() -> Remediation {
    let mut run = run_in("r", Phase::Running);
    run.status.as_mut().unwrap().step = Some(StepName::ResumeSources);
    run
}

fn failed_at(attempt: u32, now_at: u32) -> Remediation {
    let mut run = run_in("r", Phase::Running);
    let status = run.status.as_mut().unwrap();
    status.attempt = now_at;
    status.steps.push(StepRecord {
        step: StepName::RestartProvisioner,
        attempt,
        phase: StepPhase::Failed,
        started_at: at(-9),
        finished_at: Some(at(-5)),
        acted_at: None,
        quiet_since: None,
        replaced_at: None,
        known: None,
        message: String::new(),
        left: Vec::new(),
    });
    run
}

fn aborted() -> Remediation {
    let mut run = run_in("r", Phase::Running);
    run.spec.abort = true;
    run
}

fn only(world: &World, policy: ReleasePolicy, minutes: i64) -> Due {
    let mut due = due(&world.0, policy, at(minutes));
    assert_eq!(due.len(), 1);
    due.remove(0).1
}

#[rstest]
#[case::nobody_knows(world())]
#[case::its_run_is_at_work(world().with(run_in("r", Phase::Running)))]
#[case::its_run_has_not_begun(world().with(run("r")))]
#[case::its_run_succeeded_and_its_app_does_not_run(world().with(run_in("r", Phase::Succeeded)))]
#[case::its_claim_is_gone(World::rook().with(held()).with(run_in("r", Phase::Succeeded)))]
#[case::remediations_are_not_listed(world().reading(Kind::Remediations, Reading::Never))]
#[case::nothing_is_listed(World::default().with(held()))]
#[case::the_kill_switch_is_on(world().with(run_in("r", Phase::Running)).with(namespace("locksmith").stopped()))]
#[case::it_opted_out_since(World::rook().with(held().opted_out()).with(run_in("r", Phase::Running)))]
#[case::its_namespace_goes(world().with(namespace("media").terminating()))]
fn the_deadline_wins_whatever_else_is(#[case] world: World) {
    assert_eq!(
        only(&world, RUNNING, 60),
        Due::Now("its deadline has passed")
    );
    assert_ne!(
        only(&world, RUNNING, 59),
        Due::Now("its deadline has passed")
    );
}

#[rstest]
#[case::gone(world(), Due::Now("its run is gone"))]
#[case::gone_with_its_kind(world().reading(Kind::Remediations, Reading::Absent), Due::Now("its run is gone"))]
#[case::made_anew_under_its_name(
    world().with(Change::Run(Delta::Put({
        let mut anew = recorded(run_in("r", Phase::Running));
        anew.meta.uid = "uid-new".into();
        anew
    }))),
    Due::Now("its run is gone")
)]
#[case::not_listed_yet(
    world().reading(Kind::Remediations, Reading::Never),
    Due::Waits("the Remediations to be listed")
)]
#[case::in_doubt(
    world().reading(Kind::Remediations, Reading::Failing("403".to_owned())),
    Due::Waits("the Remediations to be listed")
)]
#[case::waiting(world().with(run("r")), Due::AtWork)]
#[case::at_work(world().with(run_in("r", Phase::Running)), Due::AtWork)]
#[case::failed(world().with(run_in("r", Phase::Failed)), Due::InTurn("its run has ended without success"))]
#[case::aborted(world().with(run_in("r", Phase::Aborted)), Due::InTurn("its run has ended without success"))]
#[case::planned(world().with(run_in("r", Phase::Planned)), Due::InTurn("its run has ended without success"))]
#[case::being_aborted(world().with(aborted()), Due::InTurn("its run has ended without success"))]
#[case::at_a_step_after_one_that_failed(
    world().with(failed_at(1, 1)),
    Due::InTurn("its run has ended without success")
)]
#[case::at_its_second_time_round(world().with(failed_at(1, 2)), Due::AtWork)]
#[case::resuming(world().with(resuming()), Due::Waits("its app to run"))]
#[case::succeeded(world().with(run_in("r", Phase::Succeeded)), Due::Waits("its app to run"))]
fn a_hold_whose_run_is(#[case] world: World, #[case] expected: Due) {
    assert_eq!(only(&world, RUNNING, 0), expected);
}

/// A release is never kept back by what keeps a run from going on.
#[rstest]
#[case::the_kill_switch(namespace("locksmith").stopped().into())]
#[case::a_watch_that_fails(Change::Read(Kind::PersistentVolumeClaims, Reading::Failing("x".to_owned()), at(0)))]
#[case::another_run_at_work(run_in("other", Phase::Running).into())]
#[case::an_opt_out(held().opted_out().into())]
fn what_closes_a_gate_keeps_no_hold(#[case] change: Change) {
    let world = world().with(run_in("r", Phase::Failed)).with(change);
    assert_eq!(
        only(&world, RUNNING, 0),
        Due::InTurn("its run has ended without success")
    );
}

fn resumed(claim: Claim) -> World {
    World::rook().with(held()).with(claim).with(resuming())
}

#[rstest]
#[case::its_app_runs(resumed(claim("media", "a")).with(app()), ResumeWhen::Running, Due::InTurn("its app runs"))]
#[case::its_app_is_not_ready(
    resumed(claim("media", "a")).with(app().not_ready()),
    ResumeWhen::Running,
    Due::Waits("its app to run")
)]
#[case::its_app_waits(resumed(claim("media", "a")).with(app().waiting()), ResumeWhen::Running, Due::Waits("its app to run"))]
#[case::its_app_goes(
    resumed(claim("media", "a")).with(app().deleting(at(-1))),
    ResumeWhen::Running,
    Due::Waits("its app to run")
)]
#[case::an_app_of_that_claim_name_elsewhere_runs(
    resumed(claim("media", "a")).with(pod("selfhosted", "a-0", &["a"])),
    ResumeWhen::Running,
    Due::Waits("its app to run")
)]
#[case::it_is_bound(
    resumed(claim("media", "a")),
    ResumeWhen::Bound,
    Due::InTurn("its PersistentVolumeClaim is Bound")
)]
#[case::it_is_pending(
    resumed(claim("media", "a").pending()),
    ResumeWhen::Bound,
    Due::Waits("its PersistentVolumeClaim to be Bound")
)]
#[case::all_are_resumed(resumed(claim("media", "a").pending()), ResumeWhen::All, Due::InTurn("its run resumes"))]
fn a_resume_waits_for_the_claim(
    #[case] world: World,
    #[case] when: ResumeWhen,
    #[case] expected: Due,
) {
    assert_eq!(only(&world, policy(when), 0), expected);
}

#[rstest]
#[case(ResumeWhen::Running, Due::Waits("its PersistentVolumeClaim to exist"))]
#[case(ResumeWhen::Bound, Due::Waits("its PersistentVolumeClaim to exist"))]
#[case(ResumeWhen::All, Due::InTurn("its run resumes"))]
fn a_source_without_claim(#[case] when: ResumeWhen, #[case] expected: Due) {
    let world = World::rook().with(held()).with(resuming());
    assert_eq!(only(&world, policy(when), 0), expected);
}

#[test]
fn a_held_claim_goes_with_its_app() {
    let world = World::rook()
        .with(claim("media", "a").held_by("r", at(60)))
        .with(resuming());
    assert_eq!(only(&world, RUNNING, 0), Due::Waits("its app to run"));
    assert_eq!(
        only(&world.with(app()), RUNNING, 0),
        Due::InTurn("its app runs")
    );
}

/// Five apps held, so many of them running; each by a switch of this kind.
fn apps(running: usize, switch: Switch) -> World {
    let mut run = resuming();
    let mut world = World::rook();
    let mut targets = Vec::new();
    for n in 0..5 {
        let name = format!("a{n}");
        let (mut source, mut claim) = (source("media", &name), claim("media", &name));
        let object = if switch == Switch::CopyTrigger {
            claim = claim.held_by("r", at(60));
            claim.meta.key(ObjectKind::PersistentVolumeClaim)
        } else {
            source = source.held_by("r", at(60));
            source.meta.key(ObjectKind::ReplicationSource)
        };
        targets.push(Target {
            object,
            action: Action::Hold(switch),
        });
        world = world.with(source).with(claim);
        if n < running {
            world = world.with(pod("media", &name, &[&name]));
        }
    }
    let suspend = PlannedStep {
        step: StepName::SuspendSources,
        targets,
        spared: Vec::new(),
        replicas: None,
    };
    run.status.as_mut().unwrap().plan = Some(Plan::new(DRIVER.into(), vec![suspend], at(-10)));
    world.with(run)
}

/// Sources that are kopia's are held through their claims alone, and are apps like any.
#[rstest]
#[case::too_few(3, 3)]
#[case::enough(4, 5)]
fn all_are_resumed_once_enough_apps_run(
    #[case] running: usize,
    #[case] resumed: usize,
    #[values(Switch::Paused, Switch::CopyTrigger)] switch: Switch,
) {
    let share = ReleasePolicy {
        all_above: Some(Percent::new(80)),
        ..RUNNING
    };
    let world = apps(running, switch);
    let due = due(&world.0, share, at(0));
    let in_turn = due
        .iter()
        .filter(|(_, due)| matches!(due, Due::InTurn(_)))
        .count();
    assert_eq!((due.len(), in_turn), (5, resumed));
}

#[test]
fn a_hold_that_was_taken_over_is_its_new_runs() {
    let mut source = held();
    source.hold.as_mut().unwrap().run = run_ref("later");
    let world = World::rook()
        .with(source)
        .with(run_in("r", Phase::Failed))
        .with(run_in("later", Phase::Running));
    assert_eq!(only(&world, RUNNING, 0), Due::AtWork);
}

#[test]
fn held_objects_come_by_place_and_a_source_before_its_claim() {
    let world = World::rook()
        .with(claim("media", "a").held_by("r", at(60)))
        .with(source("selfhosted", "a").held_by("r", at(60)))
        .with(source("media", "b").held_by("r", at(60)))
        .with(held())
        .with(source("media", "free"));
    let names: Vec<_> = held_objects(&world.0)
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    let expected = [
        "ReplicationSource media/a",
        "PersistentVolumeClaim media/a",
        "ReplicationSource media/b",
        "ReplicationSource selfhosted/a",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_mark_that_cannot_be_read_is_told_of_and_is_no_hold() {
    let mut paused = source("media", "a");
    (paused.paused, paused.unreadable_mark) = (true, true);
    let mut bound = claim("ai", "b");
    bound.unreadable_mark = true;
    let world = World::rook().with(paused).with(bound).with(held());
    let world = world.with(source("media", "b").held_by("r", at(60)));
    let told = |world: &World| {
        unreadable(&world.0)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    // `held` is the source of the first: its mark is readable by now.
    assert_eq!(told(&world), ["PersistentVolumeClaim ai/b"]);
    let mut again = source("media", "a");
    again.unreadable_mark = true;
    let world = world.with(again);
    assert_eq!(
        told(&world),
        ["PersistentVolumeClaim ai/b", "ReplicationSource media/a"]
    );
    let held: Vec<_> = held_objects(&world.0)
        .iter()
        .map(|held| held.object.to_string())
        .collect();
    assert_eq!(held, ["ReplicationSource media/b"]);
}

#[test]
fn nothing_held_is_nothing_due() {
    assert!(due(&World::jam().0, RUNNING, at(600)).is_empty());
}
