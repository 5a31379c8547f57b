//! The progress of a run, as lines for people. Pure.

use kube::ResourceExt;

use crate::api::StepName;
use crate::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase, StepProgress};
use crate::gates;

/// Tone of a line, which selects its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// Neutral.
    Plain,
    /// A failure.
    Bad,
    /// A success.
    Good,
    /// Needs attention.
    Ask,
}

/// One line of progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Subject, such as the name of a step; empty if the line continues the one before.
    pub label: String,
    /// Message.
    pub text: String,
    /// Tone.
    pub tone: Tone,
}

impl Line {
    /// Creates a line.
    pub fn new(label: impl Into<String>, text: impl Into<String>, tone: Tone) -> Self {
        Self {
            label: label.into(),
            text: text.into(),
            tone,
        }
    }

    /// Creates a neutral line.
    pub fn plain(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(label, text, Tone::Plain)
    }
}

/// The lines about a run that are new since its status was `before`.
pub fn of_run(run: &Remediation, before: Option<&RemediationStatus>) -> Vec<Line> {
    let mut lines = Vec::new();
    let Some(after) = &run.status else {
        return vec![Line::plain("run", run.name_any())];
    };
    lines.extend(gates_of(after, before));
    let known = before.map_or(&[][..], |before| &before.steps);
    for (at, step) in after.steps.iter().enumerate() {
        let label = step.step.as_str();
        let known = known.get(at).map(|known| known.phase);
        let tone = match step.phase {
            StepPhase::Started | StepPhase::Skipped => Tone::Plain,
            StepPhase::Succeeded => Tone::Good,
            StepPhase::Failed => Tone::Bad,
        };
        if known == Some(step.phase) {
            continue;
        }
        match step.phase {
            StepPhase::Started => lines.push(Line::plain(label, "started")),
            StepPhase::Skipped => lines.push(Line::plain(label, "skipped")),
            StepPhase::Succeeded | StepPhase::Failed => {
                lines.push(Line::new(label, &step.message, tone));
            }
        }
    }
    if before.map(|before| before.phase) != Some(after.phase) && after.phase.finished() {
        lines.extend(ending(after));
    }
    lines
}

/// The progress of a step that runs.
pub fn of_step(step: StepName, progress: &StepProgress) -> Line {
    Line::plain(step.as_str(), progress_text(progress))
}

/// `12/40, waits for lease rook-ceph/x to be taken over, until 2026-11-29T03:10:00Z at the latest`.
pub fn progress_text(progress: &StepProgress) -> String {
    let mut text = format!("{}/{}", progress.done, progress.total);
    if !progress.waiting_for.is_empty() {
        text = format!("{text}, waits for {}", progress.waiting_for);
    }
    match progress.deadline {
        Some(deadline) => format!("{text}, until {deadline:.0} at the latest"),
        None => text,
    }
}

/// The gates, if a result has changed.
fn gates_of(after: &RemediationStatus, before: Option<&RemediationStatus>) -> Vec<Line> {
    let closed = gates::closed(&after.gates);
    let told = before.map(|before| gates::closed(&before.gates));
    let first = before.is_none_or(|before| before.gates.is_empty());
    if after.gates.is_empty() || (!first && told.as_ref() == Some(&closed)) {
        return Vec::new();
    }
    let all = after.gates.len();
    if closed.is_none() {
        return vec![Line::new("gates", format!("all {all} open"), Tone::Good)];
    }
    let mut lines = Vec::new();
    for gate in after.gates.iter().filter(|gate| !gate.open) {
        let text = format!("{}: {}; opens {}", gate.gate, gate.reason, gate.opens_when);
        lines.push(Line::new("gate closed", text, Tone::Ask));
    }
    lines
}

fn ending(status: &RemediationStatus) -> Vec<Line> {
    let tone = match status.phase {
        Phase::Succeeded => Tone::Good,
        Phase::Planned | Phase::NothingToDo | Phase::Expired => Tone::Ask,
        _ => Tone::Bad,
    };
    let mut lines = vec![Line::new(status.phase.as_str(), &status.message, tone)];
    for check in &status.verdict {
        let mark = if check.passed { Tone::Good } else { Tone::Bad };
        lines.push(Line::new("", &check.message, mark));
    }
    if status.held > 0 {
        let text = format!(
            "{} sources whose app is not running; each is released when its app runs, or at the deadline",
            status.held
        );
        lines.push(Line::plain("still held", text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::at;

    #[test]
    fn progress_names_count_condition_and_deadline() {
        let mut progress = StepProgress {
            done: 2,
            total: 4,
            waiting_for: String::new(),
            deadline: None,
        };
        assert_eq!(progress_text(&progress), "2/4");
        progress.waiting_for = "1 new pod to be Ready".to_owned();
        progress.deadline = Some(at(5));
        let until = at(5);
        let text = format!("2/4, waits for 1 new pod to be Ready, until {until:.0} at the latest");
        assert_eq!(progress_text(&progress), text);
    }
}
