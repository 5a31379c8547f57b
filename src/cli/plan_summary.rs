//! Summarizes a plan for review: one paragraph, then identical changes grouped by namespace. Pure.

use std::collections::BTreeMap;

use super::render_plan::{changes, mark};
use super::table::wrapped;
use crate::api::remediation::GateRecord;
use crate::api::{Action, ObjectKind, Plan, PlannedStep, SharedStr, StepName};
use crate::config::Config;
use crate::text::humanize::{count, plain};

/// Most names of one group that are listed; the others are counted.
const NAMES: usize = 5;

/// The plan, with the limits of `config` if the plan is not run yet, and the closed ones of `gates`. Lines are at most `columns`
/// wide.
pub fn summary(
    plan: &Plan,
    gates: &[GateRecord],
    config: Option<&Config>,
    columns: usize,
) -> String {
    let mut lines = vec![format!("plan {} for {}", plan.hash, plain(&plan.driver))];
    lines.extend(wrapped(&head(plan, gates, config), columns, "  ", "  "));
    for planned in &plan.steps {
        lines.extend(step(planned, columns));
    }
    for gate in gates.iter().filter(|gate| !gate.open) {
        let (reason, opens) = (plain(&gate.reason), plain(&gate.opens_when));
        let text = format!("gate {}: {reason}; opens {opens}", gate.gate);
        lines.extend(wrapped(&text, columns, "  ", "    "));
    }
    lines.join("\n")
}

/// Counts, limits and gates, in whole sentences.
fn head(plan: &Plan, gates: &[GateRecord], config: Option<&Config>) -> String {
    let targets = |action| {
        let targets = plan.steps.iter().flat_map(|step| &step.targets);
        targets.filter(move |target| target.action == action)
    };
    let of_kind = |action, kind| targets(action).filter(|it| it.object.kind == kind).count();
    let suspend = plan.step(StepName::SuspendSources);
    let held = suspend.map_or(0, |step| step.held_sources().count());
    let classes = suspend.map_or(0, |step| step.snapshot_classes.len());
    let rollouts = targets(Action::Rollout).count();
    let snapshots = of_kind(Action::Delete, ObjectKind::VolumeSnapshot);
    let sources = of_kind(Action::Delete, ObjectKind::ReplicationSource);
    let parts = [
        ("holds", held, "source"),
        ("holds", classes, "snapshot class"),
        ("rolls out", rollouts, "workload"),
        ("replaces", targets(Action::Replace).count(), "pod"),
        ("deletes", snapshots, "snapshot"),
        ("deletes", sources, "source"),
        (
            "waits for",
            of_kind(Action::Await, ObjectKind::PersistentVolumeClaim),
            "claim",
        ),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, number, _)| *number > 0)
        .map(|(verb, number, noun)| format!("{verb} {}", count(*number, noun)))
        .collect();
    let mut text = if parts.is_empty() {
        "The run changes nothing.".to_owned()
    } else {
        format!("The run {}.", parts.join(", "))
    };
    let mut say = |sentence: String| {
        text.push(' ');
        text.push_str(&sentence);
    };
    let skipped: usize = plan.steps.iter().map(|step| step.skipped.len()).sum();
    if skipped > 0 {
        say(format!("It skips {}.", count(skipped, "object")));
    }
    if let Some(config) = config {
        if snapshots + sources > 0 {
            let limits = &config.gates;
            say(format!(
                "It may delete at most {} objects and {} of all sources.",
                limits.max_deletions, limits.max_deletions_share
            ));
        }
        if held + classes > 0 {
            let deadline = config.steps.suspend_sources.deadline;
            say(format!("The hold ends after {deadline} at the latest."));
        }
    }
    let closed: Vec<_> = gates.iter().filter(|gate| !gate.open).collect();
    if closed.is_empty() {
        if !gates.is_empty() {
            say(format!("All {} gates are open.", gates.len()));
        }
    } else {
        let names: Vec<_> = closed.iter().map(|gate| gate.gate.as_str()).collect();
        say(format!(
            "Closed gates, {} of {}: {}.",
            names.len(),
            gates.len(),
            names.join(", ")
        ));
    }
    text
}

/// One step: its changes, each with the objects by namespace.
fn step(planned: &PlannedStep, columns: usize) -> Vec<String> {
    let mut lines = vec![format!("  {}", planned.step.as_str())];
    if planned.holds() {
        let held = count(planned.held_sources().count(), "source");
        let text = format!(
            "one SnapshotHold: the API server refuses snapshots and clones of {held}; no source is changed"
        );
        lines.extend(wrapped(&text, columns, "    ", "    "));
        for (namespace, names) in &planned.sources {
            lines.extend(group('+', namespace, None, names, columns));
        }
        for class in &planned.snapshot_classes {
            lines.push(format!("  + every snapshot of class {class}"));
        }
    }
    let mut actions: Vec<Action> = Vec::new();
    for target in &planned.targets {
        if !actions.contains(&target.action) {
            actions.push(target.action);
        }
    }
    for action in actions {
        let mut groups: BTreeMap<(&SharedStr, &str), Vec<SharedStr>> = BTreeMap::new();
        for target in planned.targets.iter().filter(|it| it.action == action) {
            let object = &target.object;
            let group = (&object.namespace, object.kind.as_str());
            groups.entry(group).or_default().push(object.name.clone());
        }
        for change in changes(action) {
            lines.extend(wrapped(&change, columns, "    ", "      "));
        }
        for ((namespace, kind), names) in groups {
            lines.extend(group(mark(action), namespace, Some(kind), &names, columns));
        }
    }
    let mut skipped: BTreeMap<String, Vec<SharedStr>> = BTreeMap::new();
    for it in &planned.skipped {
        let names = skipped.entry(plain(&it.message)).or_default();
        names.push(it.object.to_string().into());
    }
    for (reason, names) in skipped {
        let text = format!("skipped {}: {reason}: {}", names.len(), some(&names));
        lines.extend(wrapped(&text, columns, "    ", "      "));
    }
    lines
}

fn group(
    mark: char,
    namespace: &str,
    kind: Option<&str>,
    names: &[SharedStr],
    columns: usize,
) -> Vec<String> {
    let place = if namespace.is_empty() {
        String::new()
    } else {
        format!("{namespace}: ")
    };
    let kind = kind.map_or_else(String::new, |kind| {
        if names.len() == 1 {
            format!("{kind} ")
        } else {
            format!("{}: ", count(names.len(), kind))
        }
    });
    let text = format!("{place}{kind}{}", some(names));
    wrapped(&text, columns, &format!("  {mark} "), "      ")
}

fn some(names: &[SharedStr]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(|name| &**name).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{DRIVER, World, at};

    fn jam() -> Plan {
        let (world, config) = (World::jam(), Config::default());
        let found = world.found(&config, at(0));
        let playbook = &config.playbooks.0["csi-operation-locks"];
        crate::plan::make(&world.0, &found, playbook, &DRIVER.into(), &config, at(0)).unwrap()
    }

    fn gate(gate: &str, open: bool) -> GateRecord {
        GateRecord {
            gate: gate.to_owned(),
            open,
            reason: "the mode is observe".to_owned(),
            opens_when: "with mode: act".to_owned(),
        }
    }

    #[test]
    fn summary_counts_groups_and_names_closed_gates() {
        let gates = [gate("mode", false), gate("freshness", true)];
        let text = summary(&jam(), &gates, Some(&Config::default()), 80);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let words: Vec<_> = text.split_whitespace().collect();
        for wanted in [
            "The run holds 3 sources, rolls out 1 workload, deletes 1 snapshot, waits for 1 claim.",
            "It may delete at most 50 objects and 50% of all sources.",
            "The hold ends after 2h at the latest. Closed gates, 1 of 2: mode.",
            "+ media: prowlarr, sonarr + selfhosted: wiki restartProvisioner",
            "~ rook-ceph: Deployment csi-rbdplugin-provisioner",
            "recorded as evidence, then deleted - media: VolumeSnapshot volsync-prowlarr-src",
            "gate mode: the mode is observe; opens with mode: act",
        ] {
            assert!(words.join(" ").contains(wanted), "{wanted} in {text}");
        }
    }

    #[test]
    fn group_lists_five_names_and_counts_the_others() {
        let names: Vec<SharedStr> = (0..7).map(|at| format!("app-{at}").into()).collect();
        let lines = group('-', "media", Some("VolumeSnapshot"), &names, 80);
        assert_eq!(
            lines.join(" "),
            "  - media: 7 VolumeSnapshots: app-0, app-1, app-2, app-3, app-4 and 2 more"
        );
        let one = group('~', "", Some("VolumeSnapshotContent"), &names[..1], 80);
        assert_eq!(one, ["  ~ VolumeSnapshotContent app-0"]);
    }

    #[test]
    fn plan_of_many_objects_stays_short() {
        let mut plan = jam();
        for step in &mut plan.steps {
            if let Some(target) = step.targets.first().cloned() {
                step.targets = vec![target; 500];
            }
        }
        let text = summary(&plan, &[], None, 80);
        assert!(text.lines().count() < 40, "{text}");
        assert!(text.contains("500 "), "{text}");
    }
}
