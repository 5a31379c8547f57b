//! A plan and its gates, as a person checks them before anything is done. Pure.

use crate::api::remediation::GateRecord;
use crate::plan::{Action, Plan};
use crate::words::plain;

/// A line an object, marked as a diff is: `~` is changed, `-` is deleted, a blank is only looked at.
pub fn plan_text(plan: &Plan) -> String {
    let mut lines = vec![format!("plan {} for {}", plan.hash, plain(&plan.driver))];
    let actions = plan.steps.iter().flat_map(|planned| &planned.targets);
    let width = actions
        .map(|target| target.action.as_str().len())
        .max()
        .unwrap_or_default();
    for planned in &plan.steps {
        lines.push(format!("  {}", planned.step.as_str()));
        for target in &planned.targets {
            let action = target.action.as_str();
            lines.push(format!(
                "  {} {action:<width$}  {}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::fixture::{DRIVER, World, at};

    #[test]
    fn objects_stand_below_each_other() {
        let (world, config) = (World::jam(), Config::default());
        let found = world.found(&config, at(0));
        let playbook = &config.playbooks.0["csi-operation-locks"];
        let plan = crate::plan::make(&world.0, &found, playbook, &DRIVER.into(), &config, at(0));
        let text = plan_text(&plan.unwrap());
        let columns = ["ReplicationSource", "VolumeSnapshot", "Deployment"].map(|kind| {
            let line = text
                .lines()
                .find_map(|line| line.find(&format!(" {kind} ")));
            line.unwrap_or_else(|| panic!("no {kind} in {text}"))
        });
        assert!(columns.iter().all(|column| *column == columns[0]), "{text}");
    }
}
