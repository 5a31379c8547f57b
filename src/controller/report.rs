//! Reports writes and changes of a run in log, metrics and Events.

use std::time::Duration;

use kube::ResourceExt;

use super::Controller;
use crate::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase};
use crate::cluster::EventType;
use crate::gates;
use crate::metrics::StepOutcome;
use crate::steps::Intent;

impl Controller {
    /// Reports a new status in log, metrics and Events, once it is written.
    pub(super) fn report(&self, run: &Remediation, before: Option<&RemediationStatus>) {
        let Some(after) = &run.status else { return };
        let name = run.name_any();
        let known = before.map_or(&[][..], |before| &before.steps);
        for (at, record) in after.steps.iter().enumerate() {
            let Some(finished) = record.finished_at else {
                continue;
            };
            if known
                .get(at)
                .is_some_and(|known| known.finished_at.is_some())
            {
                continue;
            }
            let outcome = match record.phase {
                StepPhase::Succeeded => StepOutcome::Succeeded,
                StepPhase::Failed => StepOutcome::Failed,
                StepPhase::Started | StepPhase::Skipped => continue,
            };
            let took = Duration::try_from(finished.duration_since(record.started_at));
            self.own
                .step_finished(record.step, outcome, took.unwrap_or_default());
            let (step, detail) = (record.step.as_str(), &record.message);
            tracing::info!(
                run = name,
                step,
                outcome = outcome.as_str(),
                detail,
                "step ended"
            );
            let failed = outcome == StepOutcome::Failed;
            let reason = if failed {
                "StepFailed"
            } else {
                "StepSucceeded"
            };
            let message = format!("{step}: {detail}");
            let type_ = EventType::warning_if(failed);
            self.events.publish(run, type_, reason, &message);
        }
        let phase = before.map_or(Phase::Pending, |before| before.phase);
        if phase != after.phase {
            let (from, to, detail) = (phase, after.phase, &after.message);
            tracing::info!(run = name, ?from, ?to, detail, "phase changed");
            let failed = matches!(to, Phase::Failed | Phase::Aborted);
            let type_ = EventType::warning_if(failed);
            self.events.publish(run, type_, to.as_str(), detail);
        }
        let closed = gates::closed(&after.gates);
        let known = before.and_then(|before| gates::closed(&before.gates));
        if let Some(closed) = closed.filter(|closed| known.as_ref() != Some(closed)) {
            tracing::info!(run = name, closed, "gates changed");
            self.events
                .publish(run, EventType::Normal, "GateClosed", &closed);
        }
    }
}

/// Name of the write, for log and metrics.
pub(super) fn verb(intent: &Intent) -> &'static str {
    match intent {
        Intent::CreateHold { .. } | Intent::PatchHold { .. } => "hold",
        Intent::DeleteHold(_) => "release",
        Intent::Delete(_) | Intent::Replace(_) => "delete",
        Intent::Rollout { .. } => "restart",
        Intent::Touch { .. } => "touch",
        Intent::HandOver { .. } => "hand_over",
    }
}

/// Reason and message of the Event about a write.
pub(super) fn event(intent: &Intent, run: &str) -> (&'static str, String) {
    let by = |done: &str| format!("{done} by Remediation {run}");
    match intent {
        Intent::CreateHold { .. } | Intent::PatchHold { .. } => (
            "LocksmithHeld",
            format!(
                "held by Remediation {run}; to release one source: locksmith release NAMESPACE/SOURCE; to end the run: \
                 locksmith abort {run}"
            ),
        ),
        Intent::DeleteHold(_) => ("LocksmithReleased", by("released")),
        Intent::Delete(_) => (
            "LocksmithDeleted",
            by("deleted") + &format!("; to print it: locksmith evidence {run}"),
        ),
        Intent::Replace(_) => (
            "LocksmithReplaced",
            by("deleted") + ", so that its controller replaces it",
        ),
        Intent::Rollout { .. } => ("LocksmithRestarted", by("restarted")),
        Intent::Touch { .. } => (
            "LocksmithTouched",
            by("annotated") + ", so that its deletion continues",
        ),
        Intent::HandOver { .. } => (
            "LocksmithHandedOver",
            by("released") + ", because its holder has ended",
        ),
    }
}
