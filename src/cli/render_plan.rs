//! Renders a plan and its gates for review. Pure.

use crate::api::RESTART_ANNOTATION;
use crate::api::remediation::GateRecord;
use crate::api::{Action, Plan, PlannedStep};
use crate::text::humanize::{count, plain};

/// Lists by step the fields that change and the objects, with their uids. Objects are marked as in a diff: `~` changed,
/// `+` created, `-` deleted, unmarked only watched.
pub fn plan_text(plan: &Plan) -> String {
    let mut lines = vec![format!("plan {} for {}", plan.hash, plain(&plan.driver))];
    let targets = plan.steps.iter().flat_map(|planned| &planned.targets);
    let names = targets.map(|target| target.object.to_string().chars().count());
    let width = names.max().unwrap_or_default();
    for planned in &plan.steps {
        lines.push(format!("  {}", planned.step.as_str()));
        let mut shown = None;
        for target in &planned.targets {
            if shown != Some(target.action) {
                lines.extend(changes(target.action).iter().map(|it| format!("    {it}")));
                shown = Some(target.action);
            }
            let (mark, object) = (mark(target.action), target.object.to_string());
            let uid: String = target.object.uid.to_string().chars().take(UID).collect();
            lines.push(format!("  {mark} {object:<width$}  uid {uid}"));
        }
        lines.extend(holds(planned));
        for skipped in &planned.skipped {
            lines.push(format!(
                "    skipped: {}: {}",
                skipped.object,
                plain(&skipped.message)
            ));
        }
    }
    lines.join("\n")
}

/// The sources and classes in the SnapshotHold of the run, one line per namespace.
fn holds(planned: &PlannedStep) -> Vec<String> {
    if !planned.holds() {
        return Vec::new();
    }
    let held = planned.held_sources().count();
    let mut lines = vec![format!(
        "    one SnapshotHold: the API server refuses snapshots and clones of {}; no source is changed",
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

pub fn mark(action: Action) -> char {
    match action {
        Action::Rollout | Action::Touch | Action::HandOver => '~',
        Action::Delete | Action::Replace => '-',
        Action::Await => ' ',
    }
}

/// Characters of a uid to show; `-o json` has all of it.
const UID: usize = 8;

/// The changes to an object, one per line.
pub fn changes(action: Action) -> Vec<String> {
    let field = |path: &str, before: &str, after: &str| format!("{path}: {before} -> {after}");
    match action {
        Action::Rollout => {
            let path = format!("spec.template.metadata.annotations[{RESTART_ANNOTATION}]");
            vec![field(&path, "current value", "this run")]
        }
        Action::Delete => vec!["recorded as evidence, then deleted".to_owned()],
        Action::Touch => vec!["annotated if its deletion hangs".to_owned()],
        Action::Replace => vec!["deleted; its controller recreates it".to_owned()],
        Action::HandOver => {
            let after = "none, once no old pod can run";
            vec![field("spec.holderIdentity", "an old pod", after)]
        }
        Action::Await => vec!["unchanged; watched until it has the expected state".to_owned()],
    }
}

/// One line per gate: open, or closed with the reason and the condition that opens it.
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
    fn plan_lists_one_object_per_line() {
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
    fn plan_marks_changes_as_a_diff() {
        let told = |action| changes(action).join("\n");
        assert!(told(Action::Rollout).starts_with("spec.template.metadata.annotations["));
        assert!(told(Action::HandOver).starts_with("spec.holderIdentity: an old pod -> none"));
        assert!(told(Action::Await).starts_with("unchanged"));
    }
}
