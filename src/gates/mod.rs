//! Conditions that must hold before a run acts: one gate per file, open, or closed with a reason. Pure.
//!
//! All gates are evaluated and all results shown. A gate that cannot decide is closed. Releasing and resuming pass no
//! gate.

mod approval;
mod blast_radius;
mod breaker;
mod budget;
mod ceph_health;
mod confirmed;
mod cooldown;
mod freshness;
mod hold_policy;
mod kill_switch;
mod leadership;
mod minimum_age;
mod mode;
mod name;
mod one_run;
mod progress;
mod promql;
mod snapshotter;
#[cfg(test)]
mod tests;
mod window;

pub use breaker::{RESET_ANNOTATION, failed_in_a_row, failures_in_a_row};
pub use kill_switch::stopped;
pub use name::GateName;

use crate::api::remediation::GateRecord;
use crate::run_context::RunContext;

/// Result of a gate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GateResult {
    /// The run may proceed.
    Open,
    /// The run waits.
    Closed {
        /// Reason it is closed.
        reason: String,
        /// Condition that opens it; read after the word "opens".
        opens: String,
    },
}

/// One condition.
pub trait Gate: Sync {
    /// Its name, in records, metrics and docs.
    fn name(&self) -> GateName;
    /// Whether it is evaluated before every step, and not only before the first.
    fn checked_before_each_step(&self) -> bool {
        false
    }
    /// Whether it judges the plan, and so is evaluated again for each new plan.
    fn depends_on_plan(&self) -> bool {
        false
    }
    /// Whether the run may proceed.
    fn judge(&self, cx: &RunContext<'_>) -> GateResult;
}

/// Every gate, in the order they are shown.
pub const GATES: [&dyn Gate; 18] = [
    &mode::ModeGate,
    &leadership::LeadershipGate,
    &kill_switch::KillSwitchGate,
    &freshness::FreshnessGate,
    &hold_policy::HoldPolicyGate,
    &confirmed::ConfirmedGate,
    &minimum_age::MinimumAgeGate,
    &progress::ProgressGate,
    &snapshotter::SnapshotterGate,
    &ceph_health::CephHealthGate,
    &promql::PromqlGate,
    &one_run::OneRunGate,
    &cooldown::CooldownGate,
    &budget::BudgetGate,
    &breaker::BreakerGate,
    &window::WindowGate,
    &blast_radius::BlastRadiusGate,
    &approval::ApprovalGate,
];

/// Results of all gates, before a run starts.
pub fn judge_all(cx: &RunContext<'_>) -> Vec<GateRecord> {
    GATES.iter().map(|gate| record(*gate, cx)).collect()
}

/// Results of the gates that are checked before each step.
pub fn judge_before_step(cx: &RunContext<'_>) -> Vec<GateRecord> {
    GATES
        .iter()
        .filter(|gate| gate.checked_before_each_step())
        .map(|gate| record(*gate, cx))
        .collect()
}

/// Results of the gates that apply to a new plan of a running run.
pub fn judge_plan(cx: &RunContext<'_>) -> Vec<GateRecord> {
    GATES
        .iter()
        .filter(|gate| gate.checked_before_each_step() || gate.depends_on_plan())
        .map(|gate| record(*gate, cx))
        .collect()
}

fn record(gate: &dyn Gate, cx: &RunContext<'_>) -> GateRecord {
    let name = gate.name().as_str().to_owned();
    match gate.judge(cx) {
        GateResult::Open => GateRecord {
            gate: name,
            open: true,
            reason: String::new(),
            opens_when: String::new(),
        },
        GateResult::Closed { reason, opens } => GateRecord {
            gate: name,
            open: false,
            reason,
            opens_when: opens,
        },
    }
}

/// All closed gates in one line, or `None`.
pub fn closed(gates: &[GateRecord]) -> Option<String> {
    let closed: Vec<_> = gates
        .iter()
        .filter(|gate| !gate.open)
        .map(|gate| {
            format!(
                "gate {}: {}; opens {}",
                gate.gate, gate.reason, gate.opens_when
            )
        })
        .collect();
    (!closed.is_empty()).then(|| closed.join("; "))
}

/// Whether approval is the only closed gate.
pub fn waits_for_a_person(gates: &[GateRecord]) -> bool {
    let mut closed = gates.iter().filter(|gate| !gate.open);
    closed
        .next()
        .is_some_and(|gate| GateName::Approval.is_of(gate))
        && closed.next().is_none()
}

/// Replaces older results by newer ones.
pub fn merge(into: &mut Vec<GateRecord>, newer: Vec<GateRecord>) {
    for gate in newer {
        match into.iter_mut().find(|known| known.gate == gate.gate) {
            Some(known) => *known = gate,
            None => into.push(gate),
        }
    }
}
