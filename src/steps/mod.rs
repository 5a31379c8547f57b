//! The next action of a run: the recorded status and the model in, one [`NextAction`] out. Pure.
//!
//! A run keeps no state outside its Remediation and the cluster, so any process can resume it after another
//! was killed. An outcome is never
//! taken from the answer to a write: the model shows it, as a new observation.

mod conditions;
mod delete_orphans;
mod delete_snapshots;
mod engine;
mod restart;
mod resume;
mod suspend;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

pub use engine::{next, progress};

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::api::hold::SnapshotHoldSpec;
use crate::api::remediation::{RemediationStatus, StepPhase, StepProgress, StepRecord};
use crate::api::{ObjectKey, SharedStr, Uid};
use crate::api::{PlannedStep, StepName};
use crate::api::{SkipReason, Skipped};
use crate::holds::HoldChange;
use crate::holds::policy::Probe;
use crate::model::records::{RunRef, Snapshot};
use crate::run_context::RunContext;

/// Pause before a failed list is retried.
const LIST_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// An action of the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// Write this status, then decide again.
    Record(Box<RemediationStatus>),
    /// Carry these out, each guarded by uid and resourceVersion, then decide again.
    Act(Vec<Intent>),
    /// Record these objects as evidence in the status, then decide again.
    CollectEvidence(Vec<ObjectKey>),
    /// Read uncached the objects whose absence proves something, then decide again with them.
    ReadLive {
        /// Whether the provisioner's logs are read beside the VolumeSnapshots.
        logs: bool,
    },
    /// Prove that a hold is in force, then decide again with the answers.
    Prove(Probe),
    /// Decide again when the model changes, at the latest at this time.
    Wait(Option<Timestamp>),
}

/// One write. The object is read again before it, and skipped if it is no longer the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Create the SnapshotHold of a run.
    CreateHold {
        /// The object; it has no uid yet.
        hold: ObjectKey,
        /// The run that owns it.
        run: RunRef,
        /// Its sources, classes and deadline.
        spec: Box<SnapshotHoldSpec>,
    },
    /// Add and remove sources of a SnapshotHold.
    PatchHold {
        /// The object.
        hold: ObjectKey,
        /// Its change.
        change: HoldChange,
    },
    /// Delete a SnapshotHold, which releases all that is left in it.
    DeleteHold(ObjectKey),
    /// Delete a VolumeSnapshot that is still failed, or a ReplicationSource that is still orphaned.
    Delete(ObjectKey),
    /// Annotate the pod template of a Deployment with the name of this restart.
    Rollout {
        /// The object.
        object: ObjectKey,
        /// Names run and attempt, so that the same restart is requested once.
        token: String,
    },
    /// Delete a pod, so that its controller replaces it.
    Replace(ObjectKey),
    /// Annotate a VolumeSnapshotContent whose deletion hangs, so that its sidecar retries it.
    Touch {
        /// The object.
        object: ObjectKey,
        /// Names run and attempt, so that it is touched once.
        token: String,
    },
    /// Remove the holder of a Lease, which no longer runs, unless the Lease was written since.
    HandOver {
        /// The Lease.
        object: ObjectKey,
        /// `spec.holderIdentity` as it was decided on.
        holder: SharedStr,
        /// `spec.renewTime` as it was decided on.
        renewed: Option<Timestamp>,
    },
}

impl Intent {
    /// The object written to.
    pub fn object(&self) -> &ObjectKey {
        match self {
            Self::CreateHold { hold: object, .. }
            | Self::PatchHold { hold: object, .. }
            | Self::Rollout { object, .. }
            | Self::Touch { object, .. }
            | Self::HandOver { object, .. }
            | Self::DeleteHold(object)
            | Self::Delete(object)
            | Self::Replace(object) => object,
        }
    }
}

/// The next action of a step.
enum StepDecision {
    /// Writes to carry out now.
    Act(Vec<Intent>),
    /// Objects to record as evidence first.
    CollectEvidence(Vec<ObjectKey>),
    /// VolumeSnapshots must be read uncached first.
    ReadLive,
    /// A hold must be proven first.
    Prove(Probe),
    /// A record that must survive a restart.
    Note(StepRecord),
    /// The cluster does not show the effect yet; decide again at this time at the latest.
    Wait(Option<Timestamp>),
    /// The cluster shows the effect.
    Done(String, Vec<Skipped>),
    /// The step has failed.
    Failed(String),
}

/// One step of a playbook.
trait Step: Sync {
    /// Decides how `step` continues, from what is recorded of it and of the run.
    fn advance(&self, cx: &RunContext<'_>, record: &StepRecord, step: &PlannedStep)
    -> StepDecision;

    /// How far the running `step` is, for people; [`Self::advance`] does not depend on it.
    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress;
}

/// The step of that name.
fn step(name: StepName) -> &'static dyn Step {
    match name {
        StepName::SuspendSources => &suspend::SuspendSources,
        StepName::DeleteFailedSnapshots => &delete_snapshots::DeleteFailedSnapshots,
        StepName::RestartProvisioner => &restart::RestartProvisioner,
        StepName::VerifyProvisioning => &verify::VerifyProvisioning,
        StepName::ResumeSources => &resume::ResumeSources,
        StepName::DeleteOrphanedSources => &delete_orphans::DeleteOrphanedSources,
    }
}

impl RunContext<'_> {
    /// Every VolumeSnapshot, listed after `since`: an older list proves nothing about now. Otherwise the progress that leads to one;
    /// the step fails only after lists have failed for longer than `within`.
    fn snapshots_since(
        &self,
        since: Timestamp,
        within: crate::config::Duration,
    ) -> ControlFlow<StepDecision, &[Snapshot]> {
        let facts = self.live.filter(|facts| facts.at >= since);
        match facts.map(|facts| &facts.snapshots) {
            None => ControlFlow::Break(StepDecision::ReadLive),
            Some(Ok(snapshots)) => ControlFlow::Continue(snapshots),
            Some(Err(_)) if self.now.duration_since(since) <= within.signed() => {
                ControlFlow::Break(StepDecision::Wait(self.now.checked_add(LIST_AGAIN).ok()))
            }
            Some(Err(error)) => ControlFlow::Break(StepDecision::Failed(format!(
                "failed to list VolumeSnapshots after the write: {error}"
            ))),
        }
    }

    /// Whether more than `within` has passed since the step began.
    fn overdue(&self, record: &StepRecord, within: crate::config::Duration) -> bool {
        self.now.duration_since(record.started_at) > within.signed()
    }

    /// Names run and attempt, so that a request under this name is made once.
    fn token(&self, record: &StepRecord) -> String {
        format!("{}-{}", self.id.uid, record.attempt)
    }

    /// When the settle time after the restart of this attempt ends, in which snapshots and deletions continue by themselves;
    /// the start of this step if nothing was restarted.
    fn settled(&self, record: &StepRecord) -> Option<Timestamp> {
        let restarted = self.status().steps.iter().rfind(|earlier| {
            earlier.step == StepName::RestartProvisioner
                && earlier.attempt == record.attempt
                && earlier.phase == StepPhase::Succeeded
        });
        let settle = self.config.steps.delete_failed_snapshots.settle;
        let restarted = restarted.and_then(|record| record.finished_at)?;
        restarted.checked_add(settle.signed()).ok()
    }
}

/// When `within` will have passed since the step began.
fn deadline(record: &StepRecord, within: crate::config::Duration) -> Option<Timestamp> {
    record.started_at.checked_add(within.signed()).ok()
}

/// The progress of a step that fails `within` so long after its start.
fn counted(
    record: &StepRecord,
    within: crate::config::Duration,
    done: usize,
    total: usize,
    waiting_for: String,
) -> StepProgress {
    let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
    StepProgress {
        done: number(done),
        total: number(total),
        waiting_for,
        deadline: deadline(record, within),
    }
}

/// `1 source`, `2 sources`.
fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// Names of the first few of `objects`, for a message of bounded length.
fn some<'a>(objects: impl Iterator<Item = &'a ObjectKey>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<_> = objects.map(ObjectKey::to_string).collect();
    match all.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", all[..SHOWN].join(", ")),
        _ => all.join(", "),
    }
}

/// A target that is skipped because the object is no longer the planned one.
fn gone(object: &ObjectKey, found: Option<&Uid>) -> Skipped {
    let reason = match found {
        None => SkipReason::Gone,
        Some(_) => SkipReason::Replaced,
    };
    Skipped::new(object.clone(), reason)
}
