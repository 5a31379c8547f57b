//! What comes next in a run: the recorded status and the model in, one [`NextAction`] out. Pure.
//!
//! Nothing is remembered between two calls but the Remediation's status and what the cluster shows. A process
//! that is killed anywhere leaves exactly that behind, and the next one goes on from it. An outcome is never
//! taken from the answer to a write: it is seen in the model, as a fresh observation.

mod conditions;
mod delete_orphans;
mod delete_snapshots;
mod engine;
mod live_state;
mod restart;
mod resume;
mod suspend;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

pub use engine::next;
pub use live_state::{LiveState, TailRefusal};

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::api::Skipped;
use crate::api::hold::SnapshotHoldSpec;
use crate::api::remediation::{RemediationStatus, StepPhase, StepRecord};
use crate::api::{ObjectKey, SharedStr, Uid};
use crate::api::{PlannedStep, StepName};
use crate::config::Config;
use crate::holds::HoldChange;
use crate::holds::policy::Probe;
use crate::model::Model;
use crate::model::records::{RunRef, Snapshot};

/// Pause before a list that failed is asked for again.
const LIST_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Most holds a status lists, in either place: a run may take thousands, and its record must fit into one request.
const LISTED: usize = 100;

/// What the engine asks the shell to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextAction {
    /// Write this status, then ask again.
    Record(Box<RemediationStatus>),
    /// Do these, each guarded by uid and resourceVersion, then ask again.
    Act(Vec<Intent>),
    /// Keep these objects as evidence in the status, then ask again.
    CollectEvidence(Vec<ObjectKey>),
    /// Read uncached what only its absence proves, then ask again with it.
    ReadLive {
        /// Whether the provisioner's logs are read, too, and not the VolumeSnapshots alone.
        logs: bool,
    },
    /// Try whether a hold is in force, then ask again with what came of it.
    Prove(Probe),
    /// Ask again when the model has changed, or at this time.
    Wait(Option<Timestamp>),
}

/// One write. The shell reads the object again before it, and leaves it alone when it is no longer the same.
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
        /// Names run and attempt, so that the same restart is not asked for twice.
        token: String,
    },
    /// Delete a pod, so that its controller replaces it.
    Replace(ObjectKey),
    /// Annotate a VolumeSnapshotContent whose deletion does not end, so that its sidecar looks at it again.
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

/// Everything a step sees.
struct Scene<'a> {
    run: &'a RunRef,
    status: &'a RemediationStatus,
    record: &'a StepRecord,
    planned: &'a PlannedStep,
    model: &'a Model,
    config: &'a Config,
    facts: Option<&'a LiveState>,
    now: Timestamp,
}

/// How a step stands.
enum Progress {
    /// To be done now.
    Act(Vec<Intent>),
    /// To be kept first.
    CollectEvidence(Vec<ObjectKey>),
    /// VolumeSnapshots are to be read uncached first.
    ReadLive,
    /// A hold is to be tried first.
    Prove(Probe),
    /// Something to remember across a restart.
    Note(StepRecord),
    /// The effect is not there yet; look again then at the latest.
    Wait(Option<Timestamp>),
    /// The cluster shows the effect.
    Done(String, Vec<Skipped>),
    /// It will not be.
    Failed(String),
}

/// One step of a playbook.
trait Step: Sync {
    /// What to do now.
    fn advance(&self, scene: &Scene<'_>) -> Progress;
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

impl Scene<'_> {
    /// Every VolumeSnapshot, listed after `since`: an older list proves nothing about now. Else what to do to have one;
    /// one failure is no end of it, failing for longer than `within` is.
    fn snapshots_since(
        &self,
        since: Timestamp,
        within: crate::config::Duration,
    ) -> ControlFlow<Progress, &[Snapshot]> {
        let facts = self.facts.filter(|facts| facts.at >= since);
        match facts.map(|facts| &facts.snapshots) {
            None => ControlFlow::Break(Progress::ReadLive),
            Some(Ok(snapshots)) => ControlFlow::Continue(snapshots),
            Some(Err(_)) if self.now.duration_since(since) <= within.signed() => {
                ControlFlow::Break(Progress::Wait(self.now.checked_add(LIST_AGAIN).ok()))
            }
            Some(Err(error)) => ControlFlow::Break(Progress::Failed(format!(
                "failed to see the effect: {error}"
            ))),
        }
    }

    /// Whether more than `within` has passed since the step began.
    fn overdue(&self, within: crate::config::Duration) -> bool {
        self.now.duration_since(self.record.started_at) > within.signed()
    }

    /// Names run and attempt: what is asked for under this name is asked for once.
    fn token(&self) -> String {
        format!("{}-{}", self.run.uid, self.record.attempt)
    }

    /// When the restart of this attempt had been over for so long that snapshots and deletions have gone on by themselves;
    /// the beginning of this step where nothing was restarted.
    fn settled(&self) -> Option<Timestamp> {
        let restarted = self.status.steps.iter().rfind(|record| {
            record.step == StepName::RestartProvisioner
                && record.attempt == self.record.attempt
                && record.phase == StepPhase::Succeeded
        });
        let settle = self.config.steps.delete_failed_snapshots.settle;
        let restarted = restarted.and_then(|record| record.finished_at)?;
        restarted.checked_add(settle.signed()).ok()
    }

    /// When `within` will have passed since the step began.
    fn deadline(&self, within: crate::config::Duration) -> Option<Timestamp> {
        self.record.started_at.checked_add(within.signed()).ok()
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

/// A target that is left alone because the object is no longer the one that was planned for.
fn gone(object: &ObjectKey, found: Option<&Uid>) -> Skipped {
    let why = match found {
        None => "is gone".to_owned(),
        Some(_) => "is another object of that name by now".to_owned(),
    };
    Skipped {
        object: object.clone(),
        reason: why,
    }
}
