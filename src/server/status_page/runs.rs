//! Remediations, each with its gates and steps.

use jiff::Timestamp;
use maud::{Markup, html};

use super::time;
use crate::api::StepName;
use crate::api::remediation::{GateRecord, Phase, StepPhase};
use crate::gates;
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
        article aria-labelledby=(id) data-about=(id) {
            h3 #(id) { (run.name) " " span.badge.(tone) { (run.phase.as_str()) } }
            p {
                (run.playbook) " for " (run.driver) ", created " (humanize::span(run.created, now)) " ago"
                @if let Some(finished) = run.finished { ", finished " (time(finished)) }
                @if run.held > 0 { ", holds " (humanize::count(run.held as usize, "source")) }
            }
            @if !run.message.is_empty() && !is_shown_below(run) { p { (run.message) } }
            @if !run.steps.is_empty() || !run.upcoming.is_empty() { (steps(run, now)) }
            (gates(run))
        }
    }
}

/// Whether the message only repeats the closed gates or the step in progress.
fn is_shown_below(run: &RunView) -> bool {
    let of_step = run.step.is_some_and(|step| {
        run.message
            .starts_with(&format!("{} in progress", step.as_str()))
    });
    of_step || gates::closed(&run.gates).is_some_and(|closed| closed == run.message)
}

fn gates(run: &RunView) -> Markup {
    let (open, closed): (Vec<_>, Vec<&GateRecord>) = run.gates.iter().partition(|gate| gate.open);
    html! {
        @if !run.gates.is_empty() {
            h4 { @if run.phase.finished() { "Gates, as last evaluated" } @else { "Gates" } }
            ul.gates {
                @for gate in closed {
                    li {
                        span.badge.ask { "closed" } " " (gate.gate) ": " (gate.reason)
                        @if !gate.opens_when.is_empty() { "; opens " (gate.opens_when) }
                    }
                }
                @if !open.is_empty() {
                    li {
                        details {
                            summary { span.badge.good { (open.len()) " open" } }
                            (open.iter().map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", "))
                        }
                    }
                }
            }
        }
    }
}

/// The steps as a stepper: those so far with their time against their limit, then those to come.
fn steps(run: &RunView, now: Timestamp) -> Markup {
    html! {
        h4 { "Steps" }
        ol.stepper {
            @for step in &run.steps { (step_item(step, now)) }
            @for step in &run.upcoming { li.todo { strong { (step.as_str()) } " " span.badge.plain { "to do" } } }
        }
    }
}

fn step_item(step: &StepView, now: Timestamp) -> Markup {
    let (class, tone, word) = match step.phase {
        StepPhase::Started => ("running", "plain", "running"),
        StepPhase::Succeeded => ("done", "good", "done"),
        StepPhase::Skipped => ("skipped", "plain", "skipped"),
        StepPhase::Failed => ("failed", "bad", "failed"),
    };
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs().max(0);
    let limit = step
        .deadline
        .map(|deadline| seconds(step.started, deadline));
    let elapsed = seconds(step.started, step.finished.unwrap_or(now));
    let has_bar = step.phase == StepPhase::Started && step.step != StepName::ResumeSources;
    html! {
        li.(class) {
            strong { (step.step.as_str()) } " " span.badge.(tone) { (word) } " "
            @if step.phase != StepPhase::Skipped { span.took { (took(step, now)) } }
            @if let Some(progress) = step.progress.as_ref().filter(|_| step.phase == StepPhase::Started) {
                span.took {
                    ", " (progress.done) " of " (humanize::count(progress.total as usize, "object"))
                    @if !progress.waiting_for.is_empty() { ", waiting for " (humanize::plain(&progress.waiting_for)) }
                }
            }
            @if let Some(limit) = limit.filter(|_| has_bar) {
                progress value=(elapsed.min(limit)) max=(limit.max(1)) aria-label=(format!("{}: time used of its limit", step.step.as_str())) {}
            }
            @if !step.message.is_empty() { p { (step.message) } }
        }
    }
}

/// Time against limit: `42s of 5m`. A hold is no time limit: nothing fails at its end.
pub(super) fn took(step: &StepView, now: Timestamp) -> String {
    let elapsed = humanize::span(step.started, step.finished.unwrap_or(now));
    match step.deadline {
        Some(end) if step.step == StepName::ResumeSources && step.finished.is_none() => {
            format!("{elapsed}, all holds end in {}", humanize::span(now, end))
        }
        Some(deadline) if step.step != StepName::ResumeSources => {
            format!("{elapsed} of {}", humanize::span(step.started, deadline))
        }
        _ => elapsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use rstest::rstest;

    #[rstest]
    #[case(StepName::RestartProvisioner, Some(5), None, "3m of 8m")]
    #[case(StepName::RestartProvisioner, Some(5), Some(-1), "2m of 8m")]
    #[case(StepName::RestartProvisioner, None, None, "3m")]
    #[case(StepName::ResumeSources, Some(105), None, "3m, all holds end in 105m")]
    #[case(StepName::ResumeSources, Some(105), Some(-1), "2m")]
    fn time_is_shown_against_the_limit(
        #[case] step: StepName,
        #[case] deadline: Option<i64>,
        #[case] finished: Option<i64>,
        #[case] wanted: &str,
    ) {
        let at = |minutes: i64| fixture::ago(-minutes);
        let step = StepView {
            step,
            phase: StepPhase::Started,
            started: at(-3),
            finished: finished.map(at),
            deadline: deadline.map(at),
            progress: None,
            message: String::new(),
        };
        assert_eq!(took(&step, fixture::now()), wanted);
    }
}
