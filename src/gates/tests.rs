//! Each gate open, closed and undecided, and how results are shown. One file per kind of input.

mod cluster;
mod history;
mod plan;
mod standing;

use super::{GATES, closed, judge_all, judge_before_step, merge};
use crate::api::Plan;
use crate::api::remediation::{GateRecord, Remediation};
use crate::config::{Config, Mode};
use crate::model::fixture::*;
use crate::plan::make;
use crate::run_context::RunContext;

/// The jam, a run for it, and a configuration in which it acts.
struct Case {
    world: World,
    run: Remediation,
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
        make(
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
        judge_all(
            &RunContext::new(
                &self.run,
                &self.world.0,
                &findings,
                &self.config,
                None,
                self.now,
            )
            .with_plan(self.plan.as_ref()),
        )
    }

    /// Result of that gate.
    fn answer(&self, gate: &str) -> GateRecord {
        let mut answers = self.answers().into_iter();
        answers.find(|answer| answer.gate == gate).unwrap()
    }

    /// Names of the closed gates.
    fn closed(&self) -> Vec<String> {
        let closed = self.answers().into_iter().filter(|gate| !gate.open);
        closed.map(|gate| gate.gate).collect()
    }
}

#[test]
fn repairable_jam_opens_every_gate() {
    assert_eq!(Case::jam().closed(), Vec::<String>::new());
}

#[test]
fn every_closed_gate_has_reason_and_opens_when() {
    let case = Case::of(World::default()).set(|case| case.config.mode = Mode::Plan);
    let answers = case.answers();
    let names: Vec<_> = answers.iter().map(|gate| gate.gate.as_str()).collect();
    assert_eq!(names, GATES.map(|gate| gate.name().as_str()));
    for gate in answers.iter().filter(|gate| !gate.open) {
        assert!(
            !gate.reason.is_empty() && !gate.opens_when.is_empty(),
            "{gate:?}"
        );
    }
    let closed = [
        "mode",
        "leadership",
        "killSwitch",
        "freshness",
        "holdPolicy",
        "confirmed",
        "minimumAge",
        "blastRadius",
    ];
    assert_eq!(case.closed(), closed);
}

#[test]
fn standing_gates_are_checked_during_a_run() {
    let case = Case::jam();
    let findings = Vec::new();
    let standing = judge_before_step(&RunContext::new(
        &case.run,
        &case.world.0,
        &findings,
        &case.config,
        None,
        case.now,
    ));
    let names: Vec<_> = standing.iter().map(|gate| gate.gate.as_str()).collect();
    assert_eq!(
        names,
        [
            "mode",
            "leadership",
            "killSwitch",
            "freshness",
            "holdPolicy"
        ]
    );
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
        opens_when: text("cure"),
    }
}

#[test]
fn closed_gates_are_summarised_in_one_line() {
    let gates = [record("a", false), record("b", true), record("c", false)];
    let told = "gate a: reason of a; opens cure of a; gate c: reason of c; opens cure of c";
    assert_eq!(closed(&gates).as_deref(), Some(told));
}

#[test]
fn newer_result_replaces_the_older_one() {
    let mut gates = vec![record("a", true), record("b", false)];
    merge(&mut gates, vec![record("b", true), record("c", false)]);
    assert_eq!(
        gates,
        [record("a", true), record("b", true), record("c", false)]
    );
}
