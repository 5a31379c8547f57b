//! `locksmith describe`: shows one run in full.

use std::process::ExitCode;

use jiff::Timestamp;
use kube::ResourceExt;

use super::args::RunArgs;
use super::output::{self, ResultArgs};
use super::plan_summary::summary;
use super::render_plan::{gates_text, plan_text};
use crate::api::remediation::{Remediation, RemediationStatus};
use crate::run_progress::progress_text;
use crate::text::humanize::{plain, span};

/// Show one run: verification, steps, holds, plan, gates and evidence
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// List every object of the plan with its uid
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    result: ResultArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (_, run) = args.run.read().await?;
    args.result.print(&run, || {
        let columns = output::prose(output::width());
        text(&run, Timestamp::now(), args.details, columns) + "\n"
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The state of the run first, then its plan, gates and evidence. Sentences are at most `columns` wide.
fn text(run: &Remediation, now: Timestamp, details: bool, columns: usize) -> String {
    let status = run.status.clone().unwrap_or_default();
    let created = run.creation_timestamp().map_or(now, |at| at.0);
    let mut lines = vec![
        format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any()),
        format!("  playbook  {}", plain(&run.spec.playbook)),
        format!("  driver    {}", plain(&run.spec.driver)),
        format!(
            "  created   {} ago, by {}",
            span(created, now),
            created_by(run)
        ),
        format!(
            "  phase     {}: {}",
            status.phase.as_str(),
            plain(&status.message)
        ),
    ];
    lines.extend(part("verdict", status.verdict.iter(), |check| {
        let mark = if check.passed { "passed" } else { "failed" };
        format!("{mark}  {}: {}", check.check, plain(&check.message))
    }));
    lines.extend(steps(&status));
    lines.extend(part("held", status.holds.iter(), |hold| {
        let left = span(now, hold.until);
        format!(
            "{}, ends in {left} at the latest; waits for {}",
            hold.object,
            plain(&hold.waiting_for)
        )
    }));
    if let Some(plan) = &status.plan {
        lines.push(if details {
            plan_text(plan)
        } else {
            summary(plan, &[], None, columns)
        });
    }
    if !status.gates.is_empty() {
        lines.push(gates_text(&status.gates));
    }
    lines.extend(part("evidence", status.evidence.iter(), |kept| {
        format!(
            "{} at resourceVersion {}",
            kept.object, kept.resource_version
        )
    }));
    lines.join("\n")
}

fn created_by(run: &Remediation) -> String {
    let trigger = &run.spec.trigger;
    if let Some(person) = &trigger.person {
        return plain(person);
    }
    let names: std::collections::BTreeSet<_> = trigger
        .alerts
        .iter()
        .map(|alert| plain(&alert.alertname))
        .collect();
    let names: Vec<_> = names.into_iter().collect();
    if names.is_empty() {
        "a person".to_owned()
    } else {
        names.join(", ")
    }
}

fn steps(status: &RemediationStatus) -> Vec<String> {
    part("steps", status.steps.iter(), |step| {
        let took = step.finished_at.map_or_else(String::new, |at| {
            format!(" in {}", span(step.started_at, at))
        });
        let (name, phase) = (step.step.as_str(), step.phase);
        let progress = step.progress.as_ref().map(progress_text);
        let message = plain(&progress.unwrap_or_else(|| step.message.clone()));
        format!(
            "{name}, attempt {}: {phase:?}{took}: {message}",
            step.attempt
        )
    })
}

/// A heading and one line per item, or nothing if there is none.
fn part<T>(
    heading: &str,
    items: impl Iterator<Item = T>,
    line: impl Fn(T) -> String,
) -> Vec<String> {
    let mut lines: Vec<_> = items.map(|item| format!("  {}", line(item))).collect();
    if !lines.is_empty() {
        lines.insert(0, heading.to_owned());
    }
    lines
}
