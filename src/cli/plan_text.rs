//! A plan and its gates, as a person checks them before anything is done. Pure.

use super::words::plain;
use crate::api::remediation::GateRecord;
use crate::plan::{Action, Plan};

/// A line an object, marked as a diff is: `~` is changed, `-` is deleted, a blank is only looked at.
pub fn plan_text(plan: &Plan) -> String {
    let mut lines = vec![format!("plan {} for {}", plan.hash, plan.driver)];
    for planned in &plan.steps {
        lines.push(format!("  {}", planned.step.as_str()));
        for target in &planned.targets {
            let action = target.action.as_str();
            lines.push(format!(
                "  {} {action:<9}{}",
                mark(target.action),
                target.object
            ));
        }
        for spared in &planned.spared {
            lines.push(format!(
                "    left alone: {}: {}",
                spared.object,
                plain(&spared.why)
            ));
        }
    }
    lines.join("\n")
}

fn mark(action: Action) -> char {
    match action {
        Action::Hold(_) | Action::Rollout => '~',
        Action::Delete | Action::Replace => '-',
        Action::Await => ' ',
    }
}

/// A line a gate: open, or why not and what would open it.
pub fn gates_text(gates: &[GateRecord]) -> String {
    let line = |gate: &GateRecord| {
        if gate.open {
            format!("  open    {}", gate.gate)
        } else {
            let (reason, opens) = (plain(&gate.reason), plain(&gate.opens));
            format!("  closed  {}: {reason}; opens {opens}", gate.gate)
        }
    };
    let lines: Vec<_> = gates.iter().map(line).collect();
    format!("gates\n{}", lines.join("\n"))
}
