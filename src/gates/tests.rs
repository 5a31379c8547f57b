//! Each gate open and closed, what cannot be told, and how answers are shown.

use rstest::rstest;

use super::{GATES, Situation, closed, judge_all, judge_standing, merge};
use crate::api::remediation::{
    Approval, Decision, EvidenceRecord, GateRecord, Phase, Remediation, RemediationStatus,
};
use crate::config::{Config, Duration, Mode, Percent};
use crate::model::fixture::*;
use crate::model::{Kind, ObjectKind, Reading};
use crate::plan::{self, Plan};

/// The jam, a run about it, and a configuration that lets it act.
struct Case {
    world: World,
    run: Remediation,
    status: RemediationStatus,
    config: Config,
    plan: Option<Plan>,
    now: jiff::Timestamp,
}

impl Case {
    fn of(world: World) -> Self {
        let config = Config {
            mode: Mode::Act,
            ..Config::default()
        };
        let mut case = Self {
            world,
            run: run("mine"),
            status: RemediationStatus::default(),
            config,
            plan: None,
            now: at(0),
        };
        case.plan = case.planned();
        case
    }

    fn jam() -> Self {
        Self::of(World::jam().with(run("mine")))
    }

    fn planned(&self) -> Option<Plan> {
        let playbook = &self.config.playbooks.0["csi-operation-locks"];
        let findings = self.world.found(&self.config, self.now);
        let driver = DRIVER.into();
        plan::make(
            &self.world.0,
            &findings,
            playbook,
            &driver,
            &self.config,
            self.now,
        )
        .ok()
    }

    fn with(mut self, change: impl Into<crate::model::Change>) -> Self {
        self.world = self.world.with(change);
        self
    }

    fn set(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }

    fn answers(&self) -> Vec<GateRecord> {
        let findings = self.world.found(&self.config, self.now);
        judge_all(&Situation {
            run: &self.run,
            status: &self.status,
            plan: self.plan.as_ref(),
            model: &self.world.0,
            findings: &findings,
            config: &self.config,
            now: self.now,
        })
    }

    /// Names of the closed gates.
    fn closed(&self) -> Vec<String> {
        let closed = self.answers().into_iter().filter(|gate| !gate.open);
        closed.map(|gate| gate.gate).collect()
    }
}

/// A run of the same cause that ended then.
fn ended(name: &str, minutes: i64) -> Remediation {
    let mut run = run_in(name, Phase::Succeeded);
    let status = run.status.as_mut().unwrap();
    status.started_at = Some(at(minutes - 5));
    status.finished_at = Some(at(minutes));
    run
}

fn of_another_driver(mut run: Remediation) -> Remediation {
    run.spec.driver = OTHER_DRIVER.into();
    run
}

#[test]
fn a_jam_that_may_be_mended_finds_every_gate_open() {
    assert_eq!(Case::jam().closed(), Vec::<String>::new());
}

#[test]
fn all_answers_are_shown_each_with_why_and_what_would_open_it() {
    let case = Case::of(World::default()).set(|case| case.config.mode = Mode::Plan);
    let answers = case.answers();
    let names: Vec<_> = answers.iter().map(|gate| gate.gate.as_str()).collect();
    assert_eq!(names, GATES.map(super::Gate::name));
    for gate in answers.iter().filter(|gate| !gate.open) {
        assert!(
            !gate.reason.is_empty() && !gate.opens.is_empty(),
            "{gate:?}"
        );
    }
    let closed = [
        "mode",
        "leadership",
        "killSwitch",
        "freshness",
        "confirmed",
        "minimumAge",
        "blastRadius",
    ];
    assert_eq!(case.closed(), closed);
}

/// Approved a quarter of an hour ago.
fn approved(mut case: Case, plan: &str) -> Case {
    case.run.spec.approval = Some(Approval {
        decision: Decision::Approved,
        plan: plan.to_owned(),
        at: Some(at(-15)),
        by: Some("somebody".to_owned()),
    });
    case
}

#[test]
fn who_asked_for_a_run_gets_the_plan_they_were_shown_and_no_other() {
    let shown = Case::jam().plan.unwrap().hash;
    assert!(approved(Case::jam(), &shown).closed().is_empty());
    assert_eq!(approved(Case::jam(), "another").closed(), [super::APPROVAL]);
}

#[rstest]
#[case(Mode::Observe, &["mode"])]
#[case(Mode::Plan, &["mode"])]
#[case(Mode::Act, &[])]
fn mode_lets_only_act(#[case] mode: Mode, #[case] closed: &[&str]) {
    assert_eq!(
        Case::jam().set(|case| case.config.mode = mode).closed(),
        closed
    );
}

#[test]
fn a_replica_that_does_not_lead_does_nothing() {
    let case = Case::jam().with(crate::model::Change::Leads(None));
    assert_eq!(case.closed(), ["leadership"]);
}

#[rstest]
#[case::on(Case::jam().with(namespace("locksmith").stopped()))]
#[case::namespace_not_seen(Case::of(World::jam().with(crate::model::Change::Namespace(
    crate::model::Delta::Remove { namespace: "".into(), name: "locksmith".into() }
))))]
#[case::run_without_namespace(Case::jam().set(|case| case.run.metadata.namespace = None))]
fn the_kill_switch_closes(#[case] case: Case) {
    assert_eq!(case.closed(), ["killSwitch"]);
}

#[test]
fn the_kill_switch_of_another_namespace_is_nobodys_business() {
    assert!(
        Case::jam()
            .with(namespace("media").stopped())
            .closed()
            .is_empty()
    );
}

#[test]
fn any_watch_in_doubt_closes_freshness() {
    for kind in Kind::ALL {
        for reading in [Reading::Never, Reading::Failing("403".to_owned())] {
            let case = Case::jam().set(|case| {
                case.world.0.freshness.note(kind, reading.clone(), at(0));
            });
            assert!(
                case.closed().contains(&"freshness".to_owned()),
                "{kind:?} {reading:?}"
            );
            let answer = case
                .answers()
                .into_iter()
                .find(|gate| gate.gate == "freshness");
            assert!(answer.unwrap().reason.contains(kind.as_str()));
        }
    }
}

#[test]
fn a_kind_that_is_not_served_is_no_doubt() {
    let case = Case::jam().set(|case| {
        case.world
            .0
            .freshness
            .note(Kind::ReplicationDestinations, Reading::Absent, at(0));
    });
    assert!(case.closed().is_empty());
}

#[rstest]
#[case::nothing_is_stuck(Case::of(World::rook()))]
#[case::what_is_stuck_is_of_another_driver(
    Case::of(World::rook().with(claim("media", "a").class("ceph-filesystem").pending()))
)]
#[case::what_is_held_is_not_stuck(
    Case::of(World::rook().with(claim("media", "a")).with(source("media", "a").held_by("old", at(60))))
)]
fn without_a_finding_of_the_driver_the_alert_is_not_confirmed(#[case] case: Case) {
    assert_eq!(case.closed(), ["confirmed", "minimumAge"]);
}

#[rstest]
#[case::deletes_orphans("orphaned-sources", &[])]
#[case::does_not("csi-operation-locks", &["confirmed", "minimumAge"])]
fn an_orphan_of_no_known_driver_confirms_what_would_delete_it(
    #[case] playbook: &str,
    #[case] closed: &[&str],
) {
    let world = World::rook()
        .with(source("media", "kept"))
        .with(claim("media", "kept"))
        .with(source("media", "lost"))
        .not_found("media", "lost", &[at(-15), at(-8), at(-1)]);
    let mut case = Case::of(world);
    let findings = case.world.found(&case.config, case.now);
    let playbook = &case.config.playbooks.0[playbook];
    case.plan = plan::make(
        &case.world.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &case.config,
        case.now,
    )
    .ok();
    assert_eq!(case.closed(), closed);
}

#[test]
fn without_a_snapshotter_nothing_would_help() {
    let hangs = snapshot("media", "s", "a")
        .without_status()
        .created(at(-15));
    let mut world = World::jam().with(content(&hangs).unseen()).with(hangs);
    for suffix in ["leadr", "stdby"] {
        let mut pod = replica(PROVISIONER, "7d9f8b6c5d", suffix);
        pod.containers = Box::default();
        world = world.with(pod);
    }
    let mut case = Case::of(world).with(lease(SNAPSHOTTER_LEASE, "", at(-1)));
    case.config.gates.max_deletions_share = Percent::new(100);
    assert_eq!(case.closed(), ["snapshotter"]);
}

#[rstest]
#[case::running(run_in("other", Phase::Running), &["oneRun"])]
#[case::waiting(run_in("other", Phase::Pending), &[])]
#[case::over(run_in("other", Phase::Succeeded), &[])]
#[case::never_looked_at(run("other"), &[])]
#[case::of_another_driver(of_another_driver(run_in("other", Phase::Running)), &[])]
#[case::itself(run_in("mine", Phase::Running), &[])]
fn one_run_is_at_work_on_a_driver(#[case] other: Remediation, #[case] closed: &[&str]) {
    assert_eq!(Case::jam().with(other).closed(), closed);
}

fn another_playbook(mut run: Remediation) -> Remediation {
    run.spec.playbook = "another".to_owned();
    run
}

fn never_begun(mut run: Remediation) -> Remediation {
    run.status.as_mut().unwrap().started_at = None;
    run
}

#[rstest]
#[case::just_now(ended("other", -29), &["cooldown"])]
#[case::long_enough_ago(ended("other", -30), &[])]
#[case::of_another_driver(of_another_driver(ended("other", -1)), &[])]
#[case::of_another_playbook(another_playbook(ended("other", -1)), &[])]
#[case::that_never_began(never_begun(ended("other", -1)), &[])]
#[case::itself(ended("mine", -1), &[])]
fn a_run_of_this_cause_that_ended(#[case] other: Remediation, #[case] closed: &[&str]) {
    assert_eq!(Case::jam().with(other).closed(), closed);
}

#[test]
fn the_latest_run_of_the_cause_counts() {
    let case = Case::jam()
        .with(ended("old", -300))
        .with(ended("new", -10))
        .with(ended("older", -900));
    assert_eq!(case.closed(), ["cooldown"]);
    let answer = case
        .answers()
        .into_iter()
        .find(|gate| gate.gate == "cooldown")
        .unwrap();
    assert_eq!(answer.opens, "at 2026-11-01T02:20:00Z");
}

#[test]
fn a_cooldown_beyond_all_time_never_opens() {
    let case = Case::jam().with(ended("other", -300)).set(|case| {
        case.config.gates.cooldown = Duration(std::time::Duration::MAX);
    });
    assert_eq!(case.closed(), ["cooldown"]);
}

/// So many failed snapshots, of as many sources as given.
fn failures(snapshots: usize, sources: usize) -> Case {
    let world = (0..sources).fold(World::rook(), |world, n| {
        world
            .with(source("media", &format!("a{n}")))
            .with(claim("media", &format!("a{n}")))
    });
    let world = (0..snapshots).fold(world, |world, n| {
        world.with(
            snapshot("media", &format!("s{n}"), "a0")
                .unready()
                .created(at(-15)),
        )
    });
    Case::of(world)
}

#[rstest]
#[case::few(failures(2, 4), &[])]
#[case::more_than_the_share(failures(3, 5), &["blastRadius"])]
#[case::without_any_source(failures(1, 0), &["blastRadius"])]
#[case::as_many_as_allowed(failures(50, 100), &[])]
#[case::more_than_allowed(failures(51, 200), &["blastRadius"])]
#[case::without_a_plan(Case::jam().set(|case| case.plan = None), &["blastRadius"])]
#[case::none_allowed_none_asked_for(
    failures(1, 4).set(|case| {
        case.config.gates.max_deletions = 0;
        case.config.gates.max_deletions_share = Percent::new(0);
        case.plan = Some(Plan::new(DRIVER.into(), Vec::new(), at(0)));
    }),
    &[]
)]
fn no_more_is_deleted_than_is_allowed(#[case] case: Case, #[case] closed: &[&str]) {
    assert_eq!(case.closed(), closed);
}

/// The limit is of the run: what it deleted the first time round counts the second time.
#[test]
fn what_the_run_has_deleted_before_counts() {
    let mut case = failures(2, 4).set(|case| case.config.gates.max_deletions = 3);
    let kept = |name: &str| EvidenceRecord {
        object: snapshot("media", name, "a0")
            .meta
            .key(ObjectKind::VolumeSnapshot),
        resource_version: "7".to_owned(),
        kept: "{}".to_owned(),
    };
    case.status.evidence = vec![kept("s0"), kept("earlier")];
    case.config.gates.max_deletions_share = Percent::new(100);
    assert_eq!(
        case.closed(),
        Vec::<String>::new(),
        "s0 is planned, and counts once"
    );
    case.status.evidence.push(kept("earlier still"));
    assert_eq!(case.closed(), ["blastRadius"]);
}

#[test]
fn the_standing_gates_are_those_that_a_person_or_a_failure_closes_at_any_time() {
    let case = Case::jam();
    let findings = Vec::new();
    let standing = judge_standing(&Situation {
        run: &case.run,
        status: &case.status,
        plan: None,
        model: &case.world.0,
        findings: &findings,
        config: &case.config,
        now: case.now,
    });
    let names: Vec<_> = standing.iter().map(|gate| gate.gate.as_str()).collect();
    assert_eq!(names, ["mode", "leadership", "killSwitch", "freshness"]);
    assert_eq!(closed(&standing), None);
}

fn record(gate: &str, open: bool) -> GateRecord {
    let text = |text: &str| {
        if open {
            String::new()
        } else {
            format!("{text} of {gate}")
        }
    };
    GateRecord {
        gate: gate.to_owned(),
        open,
        reason: text("reason"),
        opens: text("cure"),
    }
}

#[test]
fn all_closed_gates_are_told_in_one_line() {
    let gates = [record("a", false), record("b", true), record("c", false)];
    let told = "closed: a, reason of a; opens cure of a; closed: c, reason of c; opens cure of c";
    assert_eq!(closed(&gates).as_deref(), Some(told));
}

#[test]
fn a_newer_answer_takes_the_place_of_the_older_and_the_others_stay() {
    let mut gates = vec![record("a", true), record("b", false)];
    merge(&mut gates, vec![record("b", true), record("c", false)]);
    assert_eq!(
        gates,
        [record("a", true), record("b", true), record("c", false)]
    );
}
