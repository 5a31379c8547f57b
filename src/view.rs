//! What readers get: one immutable [`View`] of what the detectors saw. Pure.
//!
//! Metrics, the API and the command line all read the same one, and never the model itself: its size is that of
//! what is stuck, not of the cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::api::remediation::Phase;
use crate::config::{Config, Mode};
use crate::findings::{self, Finding, Policy};
use crate::gates::{self, APPROVAL};
use crate::holds;
use crate::model::{Freshness, Kind, Model, ObjectKey, Sym};

/// The cluster as last seen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// When it was taken.
    pub at: Timestamp,
    /// How far the program may go.
    pub mode: Mode,
    /// Everything stuck, and everything held.
    pub findings: Vec<Finding>,
    /// How far it can be trusted.
    pub freshness: Freshness,
    /// How many objects of each kind are known.
    pub objects: BTreeMap<Kind, usize>,
    /// Everything that carries our mark.
    pub holds: Vec<HoldView>,
    /// Remediations, newest first.
    pub runs: Vec<RunView>,
    /// The circuit breaker, as far as Remediations are seen.
    pub breaker: Breaker,
}

/// The circuit breaker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Breaker {
    /// Runs that failed in a row, up to now.
    pub failures: u32,
    /// Whether these are too many for another to begin.
    pub open: bool,
}

/// One hold.
#[derive(Clone, Debug, Serialize)]
pub struct HoldView {
    /// The held object.
    pub object: ObjectKey,
    /// The run that took it.
    pub run: Sym,
    /// Since when.
    pub since: Timestamp,
    /// When it is released in any case.
    pub until: Timestamp,
}

/// One Remediation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Namespace.
    pub namespace: Sym,
    /// Name.
    pub name: Sym,
    /// Playbook.
    pub playbook: String,
    /// CSI driver.
    pub driver: Sym,
    /// How far it has come.
    pub phase: Phase,
    /// The step under way.
    pub step: Option<crate::plan::StepName>,
    /// One line for people.
    pub message: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its first step began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What each gate last said: name, and whether it is open.
    pub gates: Vec<(String, bool)>,
    /// Number of ReplicationSources it still holds.
    pub held: u32,
}

/// Takes a view of `model`.
pub fn take(model: &Model, config: &Config, policy: &Policy, now: Timestamp) -> View {
    let mut runs: Vec<_> = model
        .runs
        .iter()
        .map(|run| {
            let status = run.object.status.clone().unwrap_or_default();
            RunView {
                namespace: run.meta.namespace.clone(),
                name: run.meta.name.clone(),
                playbook: run.object.spec.playbook.clone(),
                driver: run.object.spec.driver.clone(),
                phase: status.phase,
                step: status.step,
                message: status.message,
                created: run.meta.created,
                started: status.started_at,
                finished: status.finished_at,
                gates: status
                    .gates
                    .into_iter()
                    .map(|gate| (gate.gate, gate.open))
                    .collect(),
                held: status.held,
            }
        })
        .collect();
    runs.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    View {
        at: now,
        mode: config.mode,
        findings: findings::detect(model, policy, now),
        freshness: model.freshness.clone(),
        objects: model.census(),
        holds: holds::held_objects(model)
            .into_iter()
            .map(|held| HoldView {
                object: held.object,
                run: held.hold.run.name.clone(),
                since: held.hold.since,
                until: held.hold.until,
            })
            .collect(),
        runs,
        breaker: Breaker::of(model, config),
    }
}

impl Breaker {
    fn of(model: &Model, config: &Config) -> Self {
        let failures = gates::failures_in_a_row(model);
        Self {
            failures,
            open: failures >= config.gates.breaker_after,
        }
    }
}

impl RunView {
    /// Whether it waits for a person and for nothing else.
    pub fn waits_for_a_person(&self) -> bool {
        let mut closed = self.gates.iter().filter(|(_, open)| !open);
        closed.next().is_some_and(|(gate, _)| gate == APPROVAL) && closed.next().is_none()
    }
}

impl View {
    /// The stuck ones among the findings.
    pub fn stuck(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.what.is_stuck())
    }

    /// The circuit breaker, unless what it counts is not seen.
    pub fn breaker(&self) -> Option<Breaker> {
        self.freshness
            .trusted(Kind::Remediations)
            .then_some(self.breaker)
    }

    /// Whether everything that is watched has been seen.
    pub fn complete(&self) -> bool {
        self.freshness.doubts().next().is_none()
    }
}
