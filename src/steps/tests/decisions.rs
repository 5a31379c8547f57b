//! Single questions: this status, this cluster; what next?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rstest::rstest;

use super::progress::started;
use crate::api::StepName;
use crate::api::remediation::{AlertRef, Phase, Remediation, RemediationStatus, StepPhase};
use crate::config::{Config, Mode};
use crate::csi::ErrorClass;
use crate::model::Change;
use crate::model::fixture::*;
use crate::model::records::{DataSource, Lease, Source};
use crate::plan::{self};
use crate::steps::{Intent, NextAction, next};

fn act() -> Config {
    Config {
        mode: Mode::Act,
        ..Config::default()
    }
}

/// What comes next at 02:00.
pub fn ask(run: &Remediation, world: &World) -> NextAction {
    let config = act();
    let findings = world.found(&config, at(0));
    next(run, &world.0, &findings, &config, None, at(0))
}

fn recorded_status(moved: NextAction) -> RemediationStatus {
    match moved {
        NextAction::Record(status) => *status,
        other => panic!("{other:?}"),
    }
}

/// A run that has been at this step for a minute, with the plan the world before asks for.
pub fn at_step(step: StepName, before: &World) -> Remediation {
    let config = act();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let findings = before.found(&config, at(-1));
    let plan = plan::make(
        &before.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &config,
        at(-1),
    )
    .unwrap();
    let record = started(step);
    let mut run = run("r");
    run.status = Some(RemediationStatus {
        phase: Phase::Running,
        attempt: 1,
        step: Some(step),
        plan: Some(plan),
        steps: vec![record],
        ..RemediationStatus::default()
    });
    run
}

#[rstest]
#[case::no_provisioner(World::empty().with(namespace("locksmith")), "provisioner of rook-ceph.rbd.csi.ceph.com not found")]
fn unplannable_run_fails_before_it_starts(#[case] world: World, #[case] why: &str) {
    let status = recorded_status(ask(&run("r"), &world));
    assert_eq!((status.phase, status.started_at), (Phase::Failed, None));
    assert!(status.message.contains(why), "{}", status.message);
}

#[test]
fn an_unknown_playbook_ends_the_run() {
    let mut run = run("r");
    run.spec.playbook = "gone".to_owned();
    let status = recorded_status(ask(&run, &World::jam()));
    assert_eq!(status.message, "there is no playbook called gone");
}

/// The hold of a person, or of a deleted run of that name, which is removed a moment later.
#[test]
fn a_hold_of_somebody_else_is_never_taken_over() {
    let held = source("media", "a");
    let theirs = hold("r", at(60), &[&held]).planned("ada");
    let world = World::rook()
        .with(claim("media", "a").pending().created(at(-30)))
        .with(held)
        .with(theirs);
    let mut run = at_step(StepName::SuspendSources, &world);
    let record = &recorded_status(ask(&run, &world)).steps[0];
    assert_eq!(record.phase, StepPhase::Started);
    run.status.as_mut().unwrap().steps[0].started_at = at(-2);
    let record = &recorded_status(ask(&run, &world)).steps[0];
    assert_eq!(record.phase, StepPhase::Failed);
    assert!(
        record.message.contains("does not belong to this run"),
        "{}",
        record.message
    );
}

/// The hold lacks a planned source when the step sees it for the first time.
#[rstest]
#[case::released_by_a_person(source("media", "b"), 1, false)]
#[case::recreated_since(source("media", "b").uid("other").created(at(-10)), 1, true)]
#[case::planned_by_a_later_attempt(source("media", "b"), 2, true)]
fn source_missing_from_a_new_hold_is_added_unless_it_was_released(
    #[case] missing: Source,
    #[case] attempt: u32,
    #[case] is_added: bool,
) {
    let kept = source("media", "a");
    let edited = hold("r", at(60), &[&kept]);
    let world = World::rook()
        .with(claim("media", "a").pending().created(at(-30)))
        .with(kept)
        .with(missing);
    let mut run = at_step(StepName::SuspendSources, &world);
    run.status.as_mut().unwrap().steps[0].attempt = attempt;
    run.status.as_mut().unwrap().attempt = attempt;
    let world = world.with(edited);
    // The progress is recorded first.
    let status = recorded_status(ask(&run, &world));
    let acted = status.steps[0].acted_at.is_some();
    run.status = Some(status);
    match ask(&run, &world) {
        NextAction::Act(intents) => {
            let [Intent::PatchHold { change, .. }] = &intents[..] else {
                panic!("{intents:?}");
            };
            assert_eq!(change.add.values().collect::<Vec<_>>(), ["media/b"]);
            assert!(is_added && !acted, "{change:?}");
        }
        NextAction::Wait(_) => assert!(!is_added && acted),
        other => panic!("{other:?}"),
    }
}

/// A snapshot or clone of a held source that VolSync made after the hold was proven fails whatever step the run is at.
/// `behind` is how many minutes our clock is behind the API server's.
#[rstest]
#[case::before_the_proof(snapshot("media", "volsync-a-src", "a").created(at(-3)), 0, false)]
#[case::after_it(snapshot("media", "volsync-a-src", "a").created(at(-1)), 0, true)]
#[case::a_clone(claim("media", "volsync-a-src").filled_from(DataSource::Claim("a".into())).created(at(-1)), 0, true)]
#[case::a_restored_claim(claim("media", "volsync-a-src").from_snapshot("s").created(at(-1)), 0, false)]
#[case::one_that_somebody_gave_the_owner(snapshot("media", "theirs", "a").created(at(-1)), 0, false)]
#[case::before_the_proof_by_the_servers_clock(snapshot("media", "volsync-a-src", "a").created(at(-1)), 5, false)]
fn a_snapshot_made_in_spite_of_the_hold_fails_the_run(
    #[case] made: impl Into<Change>,
    #[case] behind: i64,
    #[case] fails: bool,
) {
    let held = source("media", "a");
    let hold = hold("r", at(60), &[&held]);
    let seen = at(-20 - behind);
    let world = World::jam().with(held).with(claim("media", "a")).with(hold);
    let mut run = at_step(StepName::VerifyProvisioning, &world);
    let status = run.status.as_mut().unwrap();
    let mut suspended = status.steps[0].clone();
    suspended.step = StepName::SuspendSources;
    (suspended.phase, suspended.finished_at) = (StepPhase::Succeeded, Some(at(-2)));
    suspended.acted_at = Some(seen);
    status.steps.insert(0, suspended);
    let next = recorded_status(ask(&run, &world.with(made)));
    assert_eq!(next.steps[1].phase == StepPhase::Failed, fails, "{next:#?}");
    if fails {
        assert!(next.steps[1].message.contains("the hold is not in force"));
    }
}

/// Long enough that the holder of a lease is cut short.
const LONG: &str = "rook-ceph-external.cephfs.csi.ceph.com-ctrlplugin";

fn leases(holder: &str) -> [Lease; 2] {
    let holder = &holder[..holder.len().min(63)];
    [
        lease(LEASE, holder, at(-30)),
        lease(SNAPSHOTTER_LEASE, holder, at(-30)),
    ]
}

/// The pods of a Deployment with this template hash, and leases held by this one.
pub fn served(name: &str, hash: &str, holder: &str) -> World {
    let [provisioner, snapshotter] = leases(holder);
    let others = World::jam().with(provisioner).with(snapshotter);
    let gone = ["leadr", "stdby"].map(|suffix| replica(PROVISIONER, "7d9f8b6c5d", suffix));
    let world = gone.into_iter().fold(others, |world, pod| {
        let (namespace, name) = (pod.meta.namespace, pod.meta.name);
        world.with(Change::Pod(crate::model::Delta::Delete { namespace, name }))
    });
    world
        .with(deployment(name).owned())
        .with(replica(name, hash, "aaaaa"))
        .with(replica(name, hash, "bbbbb"))
}

/// The restart was asked for, and every old pod was gone, a minute ago.
fn replaced(run: &mut Remediation) {
    let record = &mut run.status.as_mut().unwrap().steps[0];
    (record.acted_at, record.replaced_at) = (Some(at(-1)), Some(at(-1)));
}

/// A lease outlives the pod that held it by two minutes: the new pods are Ready long before one of them leads.
#[rstest]
#[case::by_nobody("", false)]
#[case::by_the_old_leader("7d9f8b6c5d-aaaaa", false)]
#[case::by_a_new_pod("6c5d7d9f8b-aaaaa", true)]
fn a_restart_is_complete_once_the_leases_are_held(
    #[case] holder: &str,
    #[case] complete: bool,
    #[values(PROVISIONER, LONG)] name: &str,
) {
    let before = served(name, "7d9f8b6c5d", &format!("{name}-7d9f8b6c5d-aaaaa"));
    let mut run = at_step(StepName::RestartProvisioner, &before);
    replaced(&mut run);
    let holder = if holder.is_empty() {
        String::new()
    } else {
        format!("{name}-{holder}")
    };
    let moved = ask(&run, &served(name, "6c5d7d9f8b", &holder));
    let status = recorded_status(moved);
    assert_eq!(
        status.steps[0].phase == StepPhase::Succeeded,
        complete,
        "{status:#?}"
    );
}

#[test]
fn a_lease_left_behind_in_another_namespace_is_nobodys_business() {
    let before = served(
        PROVISIONER,
        "7d9f8b6c5d",
        &format!("{PROVISIONER}-7d9f8b6c5d-aaaaa"),
    );
    let mut run = at_step(StepName::RestartProvisioner, &before);
    replaced(&mut run);
    let mut old = lease(SNAPSHOTTER_LEASE, "gone", at(-9000));
    old.namespace = "ceph-csi-of-old".into();
    old.renewed = Some(at(-8000));
    let after = served(
        PROVISIONER,
        "6c5d7d9f8b",
        &format!("{PROVISIONER}-6c5d7d9f8b-aaaaa"),
    );
    let status = recorded_status(ask(&run, &after.with(old)));
    assert_eq!(status.steps[0].phase, StepPhase::Succeeded);
}

/// The run on the build before: it held every source, deleted both snapshots, VolSync made them again, and it reported success.
#[test]
fn unrepairable_run_ends_before_holding() {
    let gone = snapshot("media", "volsync-a-src", "a")
        .error(ErrorClass::SourceMissing)
        .created(at(-30));
    let unbound = snapshot("media", "volsync-b-src", "b")
        .error(ErrorClass::SourceUnbound)
        .created(at(-30));
    let world = World::rook()
        .with(source("media", "a"))
        .with(claim("media", "a"))
        .with(content(&gone).error(ErrorClass::SourceMissing))
        .with(gone)
        .with(source("media", "b"))
        .with(claim("media", "b").pending().created(at(-30)))
        .with(unbound);
    let mut run = run("r");
    run.spec.playbook = "failed-snapshots".to_owned();
    let status = recorded_status(ask(&run, &world));
    assert_eq!(
        (status.phase, status.started_at),
        (Phase::NothingToDo, None),
        "{}",
        status.message
    );
    let told = "nothing to do: none of 2 objects can be deleted; VolumeSnapshot media/volsync-a-src: its source does \
                not exist";
    assert_eq!(status.message, told);
}

/// A run that waited for six hours, and what it waited for.
#[rstest]
#[case::nobody_approved(World::jam(), true, Phase::Expired)]
#[case::nothing_is_stuck_any_more(World::rook(), false, Phase::NothingToDo)]
#[case::a_gate_stayed_closed(World::jam().with(namespace("locksmith").stopped()), false, Phase::Failed)]
fn a_run_that_waited_in_vain(#[case] world: World, #[case] approval: bool, #[case] phase: Phase) {
    let mut config = act();
    let playbook = config.playbooks.0.get_mut("csi-operation-locks").unwrap();
    playbook.approval = approval;
    let mut run = run("r");
    let created = at(0) - config.gates.give_up_after.signed();
    run.metadata.creation_timestamp = Some(Time(created));
    let findings = world.found(&config, at(0));
    let moved = next(&run, &world.0, &findings, &config, None, at(0));
    let status = recorded_status(moved);
    assert_eq!(status.phase, phase, "{}", status.message);
    assert!(
        status
            .message
            .starts_with("waited for longer than gates.giveUpAfter (6h): gate "),
        "{}",
        status.message
    );
}

/// A run that waits for its gates; each alert resolved so many minutes ago, or still firing.
#[rstest]
#[case::of_alerts_that_all_ended(&[Some(-1), Some(-2)], None, true)]
#[case::of_an_alert_that_still_fires(&[Some(-1), None], None, false)]
#[case::of_a_person(&[], Some("ada"), false)]
#[case::of_a_person_and_an_alert(&[Some(-1)], Some("ada"), false)]
#[case::of_nobody_in_particular(&[], None, false)]
fn pending_run_ends_with_its_alerts(
    #[case] alerts: &[Option<i64>],
    #[case] person: Option<&str>,
    #[case] ends: bool,
) {
    let mut run = run_in("r", Phase::Pending);
    let alert = |resolved: &Option<i64>| AlertRef {
        alertname: "LocksmithRestoreStuck".to_owned(),
        fingerprint: "f".to_owned(),
        starts_at: at(-5),
        resolved_at: resolved.map(at),
    };
    run.spec.trigger.alerts = alerts.iter().map(alert).collect();
    run.spec.trigger.person = person.map(str::to_owned);
    let status = recorded_status(ask(&run, &World::jam()));
    assert_eq!(status.phase == Phase::Aborted, ends, "{status:#?}");
}
