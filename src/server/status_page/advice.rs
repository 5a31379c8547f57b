//! The banner: what needs a person now, and the command for it. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::Facts;
use crate::api::STOP_ANNOTATION;
use crate::api::remediation::{GateRecord, Phase, StepPhase};
use crate::config::Mode;
use crate::gates::GateName;
use crate::holds::policy::install;
use crate::state::view::{RunView, View};
use crate::text::humanize;

/// Most entries shown.
const MAX_ADVICE: usize = 5;

/// How long a failed run is shown after nothing of its driver is stuck.
const FAILURE_SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// One thing that needs a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Advice {
    /// Class of its colour.
    pub tone: &'static str,
    pub text: String,
    /// Commands in the order to run them.
    pub commands: Vec<String>,
}

impl Advice {
    fn new(tone: &'static str, text: &str, commands: impl Into<Vec<String>>) -> Self {
        let text = humanize::plain(text);
        let commands = commands.into();
        Self {
            tone,
            text,
            commands,
        }
    }
}

/// The banner; empty if nothing needs a person.
pub(super) fn banner(view: &View, facts: &Facts, now: Timestamp) -> Markup {
    let all = advice(view, &facts.namespace, now);
    html! {
        @if !all.is_empty() {
            section.banner aria-labelledby="next" {
                h2 #next { "Next" }
                ul {
                    @for advice in all.iter().take(MAX_ADVICE) {
                        li.(advice.tone) {
                            (advice.text)
                            @for command in &advice.commands { code.command { (command) } }
                        }
                    }
                }
                @if let Some(more) = all.len().checked_sub(MAX_ADVICE).filter(|more| *more > 0) {
                    p { "and " (more) " more: " code { "locksmith runs" } }
                }
            }
        }
    }
}

/// Everything that needs a person, most urgent first.
pub(super) fn advice(view: &View, namespace: &str, now: Timestamp) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(breaker(view));
    all.extend(failures(view, now));
    let unfinished = view.runs.iter().filter(|run| !run.phase.finished());
    all.extend(unfinished.filter_map(|run| waiting(run, namespace)));
    if let Some(problem) = view.hold_problem() {
        let text = format!("Holds may not be in force: {problem}");
        all.push(Advice::new("bad", &text, [install(namespace)]));
    }
    all.extend(no_run(view));
    all
}

fn describe(run: &RunView) -> String {
    format!("locksmith describe {}", run.name)
}

fn breaker(view: &View) -> Option<Advice> {
    let breaker = view.breaker().filter(|breaker| breaker.open)?;
    let failures = humanize::count(breaker.failures as usize, "run");
    let text = format!(
        "The circuit breaker has tripped: the last {failures} failed, so no run starts. Find the cause before you reset it."
    );
    let last = view.runs.iter().find(|run| run.phase == Phase::Failed);
    let commands: Vec<_> = last
        .map(describe)
        .into_iter()
        .chain(["locksmith reset".to_owned()])
        .collect();
    Some(Advice::new("bad", &text, commands))
}

/// The latest run of each driver, if it failed. While the breaker is open, that is said of the last one already.
fn failures(view: &View, now: Timestamp) -> Vec<Advice> {
    let mut drivers = BTreeSet::new();
    let latest = view.runs.iter().filter(|run| run.started.is_some());
    let latest = latest.filter(|run| drivers.insert(run.driver.clone()));
    let failed = latest.filter(|run| run.phase == Phase::Failed);
    let is_news = |run: &&RunView| {
        let is_stuck = view
            .stuck()
            .any(|finding| finding.driver.as_ref() == Some(&run.driver));
        let ended = run.finished.unwrap_or(run.created);
        is_stuck || now.duration_since(ended) < FAILURE_SHOWN
    };
    failed
        .filter(is_news)
        .map(|run| failure(run, now))
        .collect()
}

fn failure(run: &RunView, now: Timestamp) -> Advice {
    let step = run
        .steps
        .iter()
        .rfind(|step| step.phase == StepPhase::Failed);
    let (failed, message) = match step {
        Some(step) => (step.step.as_str(), &step.message),
        None => ("The verification", &run.message),
    };
    let ended = humanize::span(run.finished.unwrap_or(run.created), now);
    let mut text = format!("{failed} failed {ended} ago in {}: {message}", run.name);
    let mut commands = vec![describe(run)];
    if run.held > 0 {
        let held = humanize::count(run.held as usize, "source");
        text = format!("{text}. It still holds {held}, each until its app runs or the deadline.");
        commands.push(format!("locksmith release {}", run.name));
    }
    Advice::new("bad", &text, commands)
}

/// An unfinished run that closed gates keep from going on.
fn waiting(run: &RunView, namespace: &str) -> Option<Advice> {
    if run.waits_for_a_person() {
        let text = format!("{} waits for approval", run.name);
        let approve = format!("locksmith approve {}", run.name);
        return Some(Advice::new("ask", &text, [describe(run), approve]));
    }
    let closed: Vec<_> = run.gates.iter().filter(|gate| !gate.open).collect();
    let first = closed.first()?;
    let more = match closed.len() {
        1 => String::new(),
        several => format!(
            " (and {} more)",
            humanize::count(several - 1, "closed gate")
        ),
    };
    let text = format!(
        "{} waits for gate {}: {}{more}",
        run.name, first.gate, first.reason
    );
    let commands = vec![opens(first, run, namespace)];
    Some(Advice::new("ask", &text, commands))
}

/// The command that opens the gate; where only time or the cluster does, the one that explains it.
fn opens(gate: &GateRecord, run: &RunView, namespace: &str) -> String {
    if GateName::KillSwitch.is_of(gate) {
        format!("kubectl annotate namespace {namespace} {STOP_ANNOTATION}-")
    } else if GateName::HoldPolicy.is_of(gate) {
        install(namespace)
    } else if GateName::Breaker.is_of(gate) {
        "locksmith reset".to_owned()
    } else {
        describe(run)
    }
}

/// Stuck objects that no run repairs.
fn no_run(view: &View) -> Option<Advice> {
    if view.stuck().next().is_none() || view.runs.iter().any(|run| !run.phase.finished()) {
        return None;
    }
    let (text, command) = match view.mode {
        Mode::Observe => (
            "Mode observe changes nothing. See what a run would do:",
            "locksmith plan",
        ),
        Mode::Plan | Mode::Act => (
            "No run is active: one starts when Alertmanager sends an alert, or by hand:",
            "locksmith run",
        ),
    };
    Some(Advice::new("plain", text, [command.to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::model::{Kind, WatchState};
    use rstest::rstest;

    const RUNNING: &str = "csi-operation-locks-7c1d";
    const FAILED: &str = "csi-operation-locks-6b0c";

    fn of(view: &View) -> Vec<(String, Vec<String>)> {
        let all = advice(view, "locksmith", fixture::now());
        all.into_iter().map(|it| (it.text, it.commands)).collect()
    }

    /// A view in which one run is there alone, in this phase.
    fn only(phase: Phase) -> View {
        let mut view = fixture::jammed();
        let at = usize::from(phase == Phase::Failed);
        view.runs = vec![view.runs.remove(at)];
        view.runs[0].phase = phase;
        view
    }

    #[test]
    fn failed_step_is_named_with_the_commands_for_it() {
        let all = of(&only(Phase::Failed));
        let (text, commands) = &all[0];
        assert!(text.starts_with(
            "verifyProvisioning failed 90m ago in csi-operation-locks-6b0c: 1 still Pending"
        ));
        let release = format!("locksmith release {FAILED}");
        assert_eq!(*commands, [format!("locksmith describe {FAILED}"), release]);
    }

    #[test]
    fn failure_without_a_failed_step_is_one_of_the_verification() {
        let mut view = only(Phase::Failed);
        view.runs[0].steps.clear();
        view.runs[0].held = 0;
        let (text, commands) = &of(&view)[0];
        assert!(
            text.starts_with("The verification failed 90m ago"),
            "{text}"
        );
        assert_eq!(*commands, [format!("locksmith describe {FAILED}")]);
    }

    #[test]
    fn failure_is_superseded_by_a_later_run() {
        assert!(
            of(&fixture::jammed())
                .iter()
                .all(|(text, _)| !text.contains("failed"))
        );
    }

    #[test]
    fn old_failure_is_shown_only_while_something_is_stuck() {
        let mut view = only(Phase::Failed);
        view.runs[0].finished = Some(fixture::ago(25 * 60));
        assert!(of(&view)[0].0.contains("failed 25h ago"));
        view.findings.clear();
        assert_eq!(of(&view), []);
    }

    #[test]
    fn open_breaker_asks_for_the_cause_before_the_reset() {
        let mut view = only(Phase::Failed);
        view.freshness
            .note(Kind::Remediations, WatchState::Synced, fixture::ago(1));
        view.breaker.open = true;
        let (text, commands) = &of(&view)[0];
        assert!(
            text.starts_with("The circuit breaker has tripped: the last 1 run failed"),
            "{text}"
        );
        let describe = format!("locksmith describe {FAILED}");
        assert_eq!(*commands, [describe, "locksmith reset".to_owned()]);
    }

    #[rstest]
    #[case("approval", &["locksmith describe csi-operation-locks-7c1d", "locksmith approve csi-operation-locks-7c1d"])]
    #[case("killSwitch", &["kubectl annotate namespace locksmith locksmith.dev/stop-"])]
    #[case("holdPolicy", &["locksmith crd -n locksmith | kubectl apply --server-side -f -"])]
    #[case("breaker", &["locksmith reset"])]
    #[case("window", &["locksmith describe csi-operation-locks-7c1d"])]
    fn closed_gate_names_the_command_that_opens_it(#[case] gate: &str, #[case] wanted: &[&str]) {
        let mut view = only(Phase::Pending);
        view.runs[0].gates = vec![fixture::gate("mode", true), fixture::gate(gate, false)];
        let (text, commands) = &of(&view)[0];
        assert!(text.contains(RUNNING), "{text}");
        assert_eq!(*commands, wanted);
    }

    #[rstest]
    #[case(Mode::Observe, "locksmith plan")]
    #[case(Mode::Act, "locksmith run")]
    fn without_a_run_the_next_command_depends_on_the_mode(
        #[case] mode: Mode,
        #[case] wanted: &str,
    ) {
        let mut view = fixture::jammed();
        view.mode = mode;
        view.runs.clear();
        assert_eq!(of(&view)[0].1, [wanted]);
        view.findings.clear();
        assert_eq!(of(&view), []);
    }
}
