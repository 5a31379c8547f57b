//! Remediations, each with its gates and steps.

use jiff::Timestamp;
use maud::{Markup, html};

use super::time;
use crate::api::remediation::{GateRecord, Phase, StepPhase};
use crate::state::view::{RunView, StepView, View};
use crate::text::humanize;

/// Finished runs that are shown.
const FINISHED: usize = 10;

/// Unfinished runs; empty if there is none.
pub(super) fn under_way(view: &View, now: Timestamp) -> Markup {
    let at_work = view.runs.iter().filter(|run| !run.phase.finished());
    section("under-way", "Unfinished Remediations", at_work, now)
}

/// The latest finished runs; empty if there is none.
pub(super) fn ended(view: &View, now: Timestamp) -> Markup {
    let finished = view.runs.iter().filter(|run| run.phase.finished());
    section(
        "ended",
        "Finished Remediations",
        finished.take(FINISHED),
        now,
    )
}

fn section<'v>(
    id: &str,
    title: &str,
    runs: impl Iterator<Item = &'v RunView>,
    now: Timestamp,
) -> Markup {
    let mut runs = runs.peekable();
    html! {
        @if runs.peek().is_some() {
            section aria-labelledby=(id) {
                h2 #(id) { (title) }
                @for run in runs { (article(run, now)) }
            }
        }
    }
}

fn article(run: &RunView, now: Timestamp) -> Markup {
    let tone = match run.phase {
        Phase::Succeeded | Phase::Planned => "good",
        Phase::Failed => "bad",
        Phase::Pending => "ask",
        Phase::Running | Phase::NothingToDo | Phase::Aborted | Phase::Expired => "plain",
    };
    let id = format!("run-{}-{}", run.namespace, run.name);
    html! {
        article aria-labelledby=(id) {
            h3 #(id) { (run.name) " " span.badge.(tone) { (run.phase.as_str()) } }
            p {
                (run.playbook) " for " (run.driver) ", created " (humanize::span(run.created, now)) " ago"
                @if let Some(finished) = run.finished { ", finished " (time(finished)) }
                @if run.held > 0 { ", holds " (humanize::count(run.held as usize, "source")) }
            }
            @if !run.message.is_empty() { p { (run.message) } }
            (gates(run))
            @if !run.steps.is_empty() { (steps(&run.steps, now)) }
        }
    }
}

fn gates(run: &RunView) -> Markup {
    let (open, closed): (Vec<_>, Vec<&GateRecord>) = run.gates.iter().partition(|gate| gate.open);
    html! {
        @if !run.gates.is_empty() {
            h4 { @if run.phase.finished() { "Gates, as last evaluated" } @else { "Gates" } }
            ul {
                @for gate in closed {
                    li {
                        span.badge.ask { "closed" } " " (gate.gate) ": " (gate.reason)
                        @if !gate.opens_when.is_empty() { "; opens " (gate.opens_when) }
                    }
                }
                @if !open.is_empty() {
                    li {
                        span.badge.good { "open" } " "
                        (open.iter().map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", "))
                    }
                }
            }
        }
    }
}

fn steps(steps: &[StepView], now: Timestamp) -> Markup {
    html! {
        h4 { "Steps" }
        ol {
            @for step in steps {
                @let (tone, word) = match step.phase {
                    StepPhase::Started => ("plain", "running"),
                    StepPhase::Succeeded => ("good", "done"),
                    StepPhase::Skipped => ("plain", "skipped"),
                    StepPhase::Failed => ("bad", "failed"),
                };
                li {
                    span.badge.(tone) { (word) } " " (step.step.as_str()) ", "
                    (humanize::span(step.started, step.finished.unwrap_or(now)))
                    @if !step.message.is_empty() { ": " (step.message) }
                }
            }
        }
    }
}
