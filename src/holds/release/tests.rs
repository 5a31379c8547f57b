//! Every combination of a hold with its run, its claim and the time.

use rstest::rstest;

use super::{Due, Release, ReleasePolicy, due, releases};
use crate::api::Uid;
use crate::api::remediation::{Phase, Remediation, StepPhase, StepRecord};
use crate::api::{Plan, PlannedStep, StepName};
use crate::config::{Percent, ResumeWhen};
use crate::holds::{self, HoldChange};
use crate::model::fixture::*;
use crate::model::records::{Claim, Pod, Source};
use crate::model::{Change, Delta, Kind, Table, WatchState};

const RUNNING: ReleasePolicy = policy(ResumeWhen::Running);

const fn policy(when: ResumeWhen) -> ReleasePolicy {
    ReleasePolicy {
        when,
        all_above: None,
    }
}

/// A source held by the run `r` until three.
fn held() -> Source {
    source("media", "a")
}

/// A held source.
fn holding() -> World {
    World::rook()
        .with(held())
        .with(hold("r", at(60), &[&held()]))
}

/// A held source and its claim.
fn world() -> World {
    holding().with(claim("media", "a"))
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
        replaced_at: None,
        message: String::new(),
        skipped: Vec::new(),
        progress: None,
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

/// The API server has ended the hold, so that only the object must be removed, whether it is a run's or a person's.
#[rstest]
#[case::unknown_run(world())]
#[case::its_run_is_at_work(world().with(run_in("r", Phase::Running)))]
#[case::its_run_has_not_begun(world().with(run("r")))]
#[case::its_run_succeeded_and_its_app_does_not_run(world().with(run_in("r", Phase::Succeeded)))]
#[case::remediations_are_not_listed(world().reading(Kind::Remediations, WatchState::Never))]
#[case::the_kill_switch_is_on(world().with(run_in("r", Phase::Running)).with(namespace("locksmith").stopped()))]
#[case::a_person_planned_it(World::rook().with(hold("p", at(60), &[&held()]).planned("ada")))]
fn deadline_removes_the_hold_in_any_state(#[case] world: World) {
    let all = |minutes| releases(&world.0, RUNNING, 10, at(minutes));
    let whys: Vec<_> = all(60)
        .iter()
        .map(|it| (it.why, it.change.clone()))
        .collect();
    assert_eq!(whys, [("its deadline has passed", None)]);
    assert!(holds::held(&world.0, at(60)).is_empty());
    assert_eq!(holds::held(&world.0, at(59)).len(), 1);
    assert!(all(59).iter().all(|it| it.why != "its deadline has passed"));
}

#[rstest]
#[case::gone(world(), Due::Now("its run is gone"))]
#[case::gone_with_its_kind(world().reading(Kind::Remediations, WatchState::NotServed), Due::Now("its run is gone"))]
#[case::recreated_run(
    world().with(Change::Run(Delta::Apply({
        let mut anew = recorded(run_in("r", Phase::Running));
        anew.meta.uid = "uid-new".into();
        anew
    }))),
    Due::Now("its run is gone")
)]
#[case::not_listed_yet(
    world().reading(Kind::Remediations, WatchState::Never),
    Due::Waits("the Remediations to be listed")
)]
#[case::in_doubt(
    world().reading(Kind::Remediations, WatchState::Failing("403".to_owned())),
    Due::Waits("the Remediations to be listed")
)]
#[case::waiting(world().with(run("r")), Due::RunActive)]
#[case::at_work(world().with(run_in("r", Phase::Running)), Due::RunActive)]
#[case::failed(world().with(run_in("r", Phase::Failed)), Due::InTurn("its run has ended without success"))]
#[case::aborted(world().with(run_in("r", Phase::Aborted)), Due::InTurn("its run has ended without success"))]
#[case::planned(world().with(run_in("r", Phase::Planned)), Due::InTurn("its run has ended without success"))]
#[case::being_aborted(world().with(aborted()), Due::InTurn("its run has ended without success"))]
#[case::at_a_step_after_one_that_failed(
    world().with(failed_at(1, 1)),
    Due::InTurn("its run has ended without success")
)]
#[case::at_its_second_time_round(world().with(failed_at(1, 2)), Due::RunActive)]
#[case::resuming(world().with(resuming()), Due::Waits("its app to run"))]
#[case::succeeded(world().with(run_in("r", Phase::Succeeded)), Due::Waits("its app to run"))]
fn hold_follows_the_state_of_its_run(#[case] world: World, #[case] expected: Due) {
    assert_eq!(only(&world, RUNNING, 0), expected);
}

/// A release is never blocked by a closed gate.
#[rstest]
#[case::the_kill_switch(namespace("locksmith").stopped().into())]
#[case::a_watch_that_fails(Change::Read(Kind::PersistentVolumeClaims, WatchState::Failing("x".to_owned()), at(0)))]
#[case::another_run_at_work(run_in("other", Phase::Running).into())]
#[case::an_opt_out(held().opted_out().into())]
fn closed_gate_does_not_block_a_release(#[case] change: Change) {
    let world = world().with(run_in("r", Phase::Failed)).with(change);
    assert_eq!(
        only(&world, RUNNING, 0),
        Due::InTurn("its run has ended without success")
    );
}

fn resumed(claim: Claim) -> World {
    holding().with(claim).with(resuming())
}

#[rstest]
#[case::its_app_runs(resumed(claim("media", "a")).with(app()), ResumeWhen::Running, Due::InTurn("its app runs"))]
#[case::its_app_is_not_ready(
    resumed(claim("media", "a")).with(app().not_ready()),
    ResumeWhen::Running,
    Due::Waits("its app to run")
)]
#[case::its_app_waits(resumed(claim("media", "a")).with(app().waiting()), ResumeWhen::Running, Due::Waits("its app to run"))]
#[case::terminating_app(
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
fn resume_waits_for_the_claim(
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
fn source_without_claim_is_released_only_with_all(#[case] when: ResumeWhen, #[case] expected: Due) {
    let world = holding().with(resuming());
    assert_eq!(only(&world, policy(when), 0), expected);
}

#[test]
fn source_that_no_longer_exists_is_released() {
    let world = World::rook()
        .with(hold("r", at(60), &[&held()]))
        .with(resuming());
    let expected = Due::InTurn("the source no longer exists");
    assert_eq!(only(&world, RUNNING, 0), expected);
}

/// Five held apps, of which `running` run.
fn apps(running: usize) -> World {
    let mut run = resuming();
    let mut world = World::rook();
    let sources: Vec<_> = (0..5).map(|n| source("media", &format!("a{n}"))).collect();
    let mut suspend = PlannedStep::new(StepName::SuspendSources);
    for (n, source) in sources.iter().enumerate() {
        let name = &source.meta.name;
        let names = suspend.sources.entry("media".into()).or_default();
        names.push(name.clone());
        world = world.with(source.clone()).with(claim("media", name));
        if n < running {
            world = world.with(pod("media", name, &[name]));
        }
    }
    run.status.as_mut().unwrap().plan = Some(Plan::new(DRIVER.into(), vec![suspend], at(-10)));
    let sources: Vec<_> = sources.iter().collect();
    world.with(run).with(hold("r", at(60), &sources))
}

#[rstest]
#[case::too_few(3, 3)]
#[case::enough(4, 5)]
fn all_sources_are_resumed_once_enough_apps_run(#[case] running: usize, #[case] resumed: usize) {
    let share = ReleasePolicy {
        all_above: Some(Percent::new(80)),
        ..RUNNING
    };
    let world = apps(running);
    let due = due(&world.0, share, at(0));
    let in_turn = due
        .iter()
        .filter(|(_, due)| matches!(due, Due::InTurn(_)))
        .count();
    assert_eq!((due.len(), in_turn), (5, resumed));
}

fn sizes(releases: &[Release]) -> Vec<(Option<usize>, bool)> {
    let removed = |change: &HoldChange| change.remove.len();
    let size = |it: &Release| (it.change.as_ref().map(removed), it.in_turn);
    releases.iter().map(size).collect()
}

/// The last batch deletes the SnapshotHold.
#[rstest]
#[case::two_of_five(5, 2, &[(Some(2), true)])]
#[case::those_that_run(3, 9, &[(Some(3), true)])]
#[case::all_at_once(5, 5, &[(None, true)])]
fn resume_is_patched_in_batches(
    #[case] running: usize,
    #[case] batch: u32,
    #[case] expected: &[(Option<usize>, bool)],
) {
    let world = apps(running);
    let releases = releases(&world.0, RUNNING, batch, at(0));
    assert_eq!(sizes(&releases), expected);
}

#[test]
fn hold_without_its_run_is_deleted_immediately() {
    let sources = [
        source("media", "a"),
        source("media", "b"),
        source("ai", "c"),
    ];
    let sources: Vec<_> = sources.iter().collect();
    let world = World::rook().with(hold("r", at(60), &sources));
    assert_eq!(
        sizes(&releases(&world.0, RUNNING, 1, at(0))),
        [(None, false)]
    );
}

#[rstest]
#[case::at_work(run_in("r", Phase::Running), 0)]
#[case::over(run_in("r", Phase::Failed), 1)]
fn class_hold_ends_with_its_run(#[case] run: Remediation, #[case] expected: usize) {
    let of_class = hold("r", at(60), &[]).on_class("csi-ceph-block");
    let world = World::rook().with(of_class).with(run);
    assert_eq!(releases(&world.0, RUNNING, 1, at(0)).len(), expected);
}

/// Snapshots of other tools do not wait for any app.
#[test]
fn classes_are_released_before_sources_whose_apps_do_not_run() {
    let mut world = apps(0);
    for hold in world.0.holds.iter().cloned().collect::<Vec<_>>() {
        world = world.with(hold.on_class("csi-ceph-block"));
    }
    let releases = releases(&world.0, RUNNING, 2, at(0));
    let [release] = &*releases else {
        panic!("{releases:?}")
    };
    let change = release.change.as_ref().expect("a patch");
    assert!(change.release_classes && change.remove.is_empty());
}

/// In a process that has just started, no source is known yet, so that every source would be released.
#[test]
fn nothing_is_released_before_the_sources_are_listed() {
    let world = World::rook()
        .with(hold("r", at(60), &[&held()]))
        .with(run_in("r", Phase::Succeeded));
    assert_eq!(releases(&world.0, RUNNING, 9, at(0)).len(), 1);
    let unlisted = world.reading(Kind::ReplicationSources, WatchState::Never);
    assert_eq!(releases(&unlisted.0, RUNNING, 9, at(0)), []);
}

/// `kubectl delete remediation --cascade=orphan` removes the owner but leaves the hold.
#[test]
fn hold_without_owner_is_released() {
    let mut orphan = hold("r", at(60), &[&held()]);
    orphan.run.as_mut().unwrap().uid = Uid::default();
    let world = World::rook()
        .with(held())
        .with(orphan)
        .with(run_in("r", Phase::Running));
    assert_eq!(
        sizes(&releases(&world.0, RUNNING, 1, at(0))),
        [(None, false)]
    );
}

/// Without the binding it is unknown which holds the API server enforces.
#[test]
fn every_hold_is_shown_while_the_binding_cannot_be_read() {
    let mut world = World::rook()
        .with(held())
        .with(hold("r", at(60), &[&held()]));
    world.0.hold_bindings = Table::default();
    let mut known = |reading| {
        world.0.freshness.note(Kind::HoldBinding, reading, at(0));
        holds::held(&world.0, at(0)).len()
    };
    assert_eq!(known(WatchState::Synced), 0);
    assert_eq!(known(WatchState::Failing("forbidden".into())), 1);
}

#[test]
fn planned_holds_are_neither_counted_nor_released() {
    let planned = hold("p", at(60), &[&held()]).planned("ada");
    let world = World::rook().with(held()).with(planned);
    assert!(due(&world.0, RUNNING, at(0)).is_empty());
    assert!(releases(&world.0, RUNNING, 10, at(0)).is_empty());
    assert_eq!(holds::held(&world.0, at(0)).len(), 1);
}

/// A SnapshotHold in another namespace is no parameter of the policy, and holds nothing.
#[test]
fn holds_in_other_namespaces_are_ignored() {
    let mut elsewhere = hold("r", at(60), &[&held()]);
    elsewhere.meta.namespace = "media".into();
    let world = World::rook().with(held()).with(elsewhere);
    assert!(holds::held(&world.0, at(0)).is_empty());
    assert!(releases(&world.0, RUNNING, 10, at(90)).is_empty());
}

#[test]
fn no_hold_has_no_release() {
    assert!(due(&World::jam().0, RUNNING, at(600)).is_empty());
}
