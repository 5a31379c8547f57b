//! `resumeSources`: waits until everything due for release is released. See [`crate::holds`] for the release itself.

use jiff::Timestamp;

use super::{Step, StepDecision, count, counted};
use crate::api::PlannedStep;
use crate::api::StepName;
use crate::api::remediation::{StepProgress, StepRecord};
use crate::api::{SkipReason, Skipped};
use crate::holds::{self, Due};
use crate::model::Kind;
use crate::plan::MAX_LISTED;
use crate::run_context::RunContext;

pub(super) struct ResumeSources;

impl Step for ResumeSources {
    fn advance(&self, cx: &RunContext<'_>, _: &StepRecord, _: &PlannedStep) -> StepDecision {
        // Before the first list, the model shows no hold of this run.
        if !cx.model.freshness.trusted(Kind::SnapshotHolds) {
            let ended = released_by(cx);
            return if ended.is_some_and(|ended| cx.now < ended) {
                StepDecision::Wait(ended)
            } else {
                let why = "SnapshotHolds cannot be read; the API server has ended all holds at their deadline";
                StepDecision::Failed(why.to_owned())
            };
        }
        let policy = (&cx.config.steps.resume_sources).into();
        let (mut due, mut left, mut waiting) = (0, Vec::new(), 0);
        for (held, when) in holds::due(cx.model, policy, cx.now) {
            if held.hold.run.as_ref() != Some(&cx.id) {
                continue;
            }
            match when {
                // The model may not show yet that this run has come to its resume.
                Due::Now(_) | Due::InTurn(_) | Due::RunActive => due += 1,
                Due::Waits(what) => {
                    waiting += 1;
                    if left.len() < MAX_LISTED {
                        left.push(Skipped {
                            object: held.source,
                            reason: SkipReason::StillHeld,
                            message: format!("waits for {what}"),
                        });
                    }
                }
            }
        }
        // Classes are released at once.
        let hold = holds::of_run(cx.model, &cx.id, cx.now);
        if due > 0 || hold.is_some_and(|hold| !hold.snapshot_classes.is_empty()) {
            return StepDecision::Wait(None);
        }
        let message = if left.is_empty() {
            "all sources resumed".to_owned()
        } else {
            format!(
                "{} still held, until their app runs or the deadline passes",
                count(waiting, "source")
            )
        };
        StepDecision::Done(message, left)
    }

    fn progress(&self, cx: &RunContext<'_>, record: &StepRecord, _: &PlannedStep) -> StepProgress {
        let policy = (&cx.config.steps.resume_sources).into();
        let due = holds::due(cx.model, policy, cx.now);
        let due = due.iter().filter(|(held, when)| {
            held.hold.run.as_ref() == Some(&cx.id) && !matches!(when, Due::Waits(_))
        });
        let due = due.count();
        let suspend = cx.plan.and_then(|plan| plan.step(StepName::SuspendSources));
        let total = suspend.map_or(0, |suspend| suspend.held_sources().count());
        let total = total.max(due);
        let waiting_for = format!("{} to be released", count(due, "source"));
        let within = cx.config.steps.suspend_sources.deadline;
        StepProgress {
            // The API server ends the hold then; the step does not fail.
            deadline: released_by(cx),
            ..counted(record, within, total - due, total, waiting_for)
        }
    }
}

/// When the API server has released everything this run held, observed or not.
fn released_by(cx: &RunContext<'_>) -> Option<Timestamp> {
    let mut records = cx.status().steps.iter();
    let held = records.rfind(|record| record.step == StepName::SuspendSources)?;
    // A hold is created before it is seen, and nothing moves its deadline.
    let seen = held.acted_at.or(held.finished_at)?;
    let deadline = cx.config.steps.suspend_sources.deadline;
    seen.checked_add(deadline.signed()).ok()
}
