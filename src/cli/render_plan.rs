//! A plan and its gates, as a person checks them before anything is done. Pure.

use crate::api::RESTART_ANNOTATION;
use crate::api::remediation::GateRecord;
use crate::api::{Action, Plan, PlannedStep};
use crate::text::humanize::{count, plain};

/// Of each step what changes, field by field, and in which objects, pinned by uid. Marked as a diff is: `~` is changed, `+` is
/// created, `-` is deleted, a blank is only looked at.
pub fn plan_text(plan: &Plan) -> String {
    let mut lines = vec![format!("plan {} for {}", plan.hash, plain(&plan.driver))];
    let targets = plan.steps.iter().flat_map(|planned| &planned.targets);
    let names = targets.map(|target| target.object.to_string().chars().count());
    let width = names.max().unwrap_or_default();
    for planned in &plan.steps {
        lines.push(format!("  {}", planned.step.as_str()));
        let mut told = None;
        for target in &planned.targets {
            if told != Some(target.action) {
                lines.extend(changes(target.action).iter().map(|it| format!("    {it}")));
                told = Some(target.action);
            }
            let (mark, object) = (mark(target.action), target.object.to_string());
            let uid: String = target.object.uid.to_string().chars().take(UID).collect();
            lines.push(format!("  {mark} {object:<width$}  uid {uid}"));
        }
        lines.extend(holds(planned));
        for skipped in &planned.skipped {
            lines.push(format!(
                "    left alone: {}: {}",
                skipped.object,
                plain(&skipped.reason)
            ));
        }
    }
    lines.join("\n")
}

/// The sources and classes in the SnapshotHold of the run, a line each namespace.
fn holds(planned: &PlannedStep) -> Vec<String> {
    if !planned.holds() {
        return Vec::new();
    }
    let held = planned.held_sources().count();
    let mut lines = vec![format!(
        "    one SnapshotHold; the API server refuses snapshots and clones of {}, nothing of theirs is changed",
        count(held, "source")
    )];
    for (namespace, names) in &planned.sources {
        lines.push(format!("  + {namespace}: {}", names.join(", ")));
    }
    for class in &planned.snapshot_classes {
        lines.push(format!("  + every snapshot of class {class}"));
    }
    lines
}

fn mark(action: Action) -> char {
    match action {
        Action::Rollout | Action::Touch | Action::HandOver => '~',
        Action::Delete | Action::Replace => '-',
        Action::Await => ' ',
    }
}

/// So much of a uid tells objects apart; `-o json` has all of it.
const UID: usize = 8;

/// What becomes of an object, a line each.
fn changes(action: Action) -> Vec<String> {
    let field = |path: &str, before: &str, after: &str| format!("{path}: {before} -> {after}");
    match action {
        Action::Rollout => {
            let path = format!("spec.template.metadata.annotations[{RESTART_ANNOTATION}]");
            vec![field(&path, "as it is", "this run")]
        }
        Action::Delete => vec!["deleted, and kept as evidence first".to_owned()],
        Action::Touch => vec!["annotated, if its deletion does not end".to_owned()],
        Action::Replace => vec!["deleted; its controller makes it anew".to_owned()],
        Action::HandOver => {
            let after = "none, once no old pod can run any more";
            vec![field("spec.holderIdentity", "an old pod", after)]
        }
        Action::Await => vec!["unchanged; awaited".to_owned()],
    }
}

/// A line a gate: open, or why not and what would open it.
pub fn gates_text(gates: &[GateRecord]) -> String {
    let line = |gate: &GateRecord| {
        if gate.open {
            format!("  open    {}", gate.gate)
        } else {
            let (reason, opens) = (plain(&gate.reason), plain(&gate.opens_when));
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
        let column = |line: &str| line.find("  uid ").unwrap();
        let objects: Vec<_> = text
            .lines()
            .filter(|line| line.contains("  uid "))
            .collect();
        assert!(objects.len() > 3, "{text}");
        assert!(
            objects
                .iter()
                .all(|line| column(line) == column(objects[0])),
            "{text}"
        );
    }

    #[test]
    fn what_changes_is_told_as_a_diff() {
        let told = |action| changes(action).join("\n");
        assert!(told(Action::Rollout).starts_with("spec.template.metadata.annotations["));
        assert!(told(Action::HandOver).starts_with("spec.holderIdentity: an old pod -> none"));
        assert!(told(Action::Await).starts_with("unchanged"));
    }
}
