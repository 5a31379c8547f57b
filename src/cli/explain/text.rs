//! Renders an [`Explanation`] for a terminal. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::explanation::{Explanation, WouldDo};
use crate::state::view::ProvisionerView;
use crate::text::humanize::{self, plain};

/// A tree from the object to the provisioner, the evidence, the plan of a run, and the next command.
pub fn render(explanation: &Explanation, now: Timestamp) -> String {
    let mut lines = vec![head(explanation, now)];
    if !explanation.findings.is_empty() {
        lines.push(String::new());
        for (depth, label) in tree(explanation).into_iter().enumerate() {
            let indent = "   ".repeat(depth.saturating_sub(1));
            let branch = if depth == 0 { "" } else { "└─ " };
            lines.push(format!("  {indent}{branch}{label}"));
        }
    }
    let mut evidence: Vec<_> = explanation
        .findings
        .iter()
        .flat_map(|finding| &finding.evidence)
        .map(|seen| format!("  {}", plain(seen)))
        .collect();
    let mut printed = BTreeSet::new();
    evidence.retain(|line| printed.insert(line.clone()));
    section(&mut lines, "evidence", evidence);
    if let Some(run) = &explanation.run {
        let title = format!("plan of {}", run.playbook);
        section(&mut lines, &title, steps(run));
        let closed = run.closed.iter().map(|gate| {
            let (reason, opens) = (plain(&gate.reason), plain(&gate.opens_when));
            format!("  {}: {reason}; opens {opens}", gate.gate)
        });
        section(&mut lines, "closed gates", closed.collect());
    }
    let next = explanation.next.iter();
    section(
        &mut lines,
        "next",
        next.map(|next| format!("  {next}")).collect(),
    );
    if explanation.uncertain {
        section(
            &mut lines,
            "not everything could be read; see",
            vec!["  locksmith status".to_owned()],
        );
    }
    lines.push(String::new());
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, content: Vec<String>) {
    if !content.is_empty() {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(content);
    }
}

fn head(explanation: &Explanation, now: Timestamp) -> String {
    let subject = match (&explanation.object, &explanation.lock) {
        (Some(object), _) => humanize::place(object),
        (None, Some(lock)) => format!("lock {}", plain(&lock.0)),
        (None, None) => String::new(),
    };
    let Some(first) = explanation.findings.first() else {
        return format!("{subject} {}", explanation.state);
    };
    let reason = first.what.reason().replace('_', " ");
    let stuck = if first.began_unseen() {
        "is stuck".to_owned()
    } else {
        format!("has been stuck for {}", humanize::span(first.since, now))
    };
    let about = first.object.as_ref();
    let whose = match about.filter(|about| Some(*about) != explanation.object.as_ref()) {
        Some(about) => format!(" ({})", humanize::place(about)),
        None => String::new(),
    };
    let size = match first.bytes {
        0 => String::new(),
        bytes => format!(", {}", humanize::size(bytes)),
    };
    format!("{subject} {stuck}: {reason}{whose}{size}")
}

/// Labels from the object to the provisioner, each below the one that waits for it.
fn tree(explanation: &Explanation) -> Vec<String> {
    let path = explanation.path().into_iter();
    let mut labels: Vec<_> = path.map(humanize::object).collect();
    if let Some(lock) = &explanation.lock {
        labels.push(format!("lock {}", plain(&lock.0)));
    }
    labels.extend(explanation.provisioner.as_ref().map(provisioner));
    labels
}

fn provisioner(view: &ProvisionerView) -> String {
    let driver = plain(&view.driver);
    let workload = match (&view.workload, &view.problem) {
        (Some(workload), _) => humanize::place(workload),
        (None, problem) => {
            let why = problem.as_deref().unwrap_or("not found");
            return format!("provisioner of {driver}: {}", plain(why));
        }
    };
    let followed = humanize::count(view.followed, "log");
    let unreadable = match view.unreadable.len() {
        0 => String::new(),
        unreadable => format!(", {unreadable} unreadable"),
    };
    format!("{workload}, provisioner of {driver}: {followed} followed{unreadable}")
}

fn steps(run: &WouldDo) -> Vec<String> {
    if let Some(error) = &run.error {
        return vec![format!("  no plan: {}", plain(error))];
    }
    let width = run
        .steps
        .iter()
        .map(|(step, _)| step.as_str().len())
        .max()
        .unwrap_or(0);
    if run.steps.is_empty() {
        return vec!["  changes nothing for this object".to_owned()];
    }
    run.steps
        .iter()
        .map(|(step, what)| format!("  {:<width$}  {}", step.as_str(), plain(what)))
        .collect()
}
