//! Settings of each step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent};
use crate::api::SharedStr;

/// Settings of each step.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Steps {
    /// Step `suspendSources`.
    pub suspend_sources: SuspendSources,
    /// Step `deleteFailedSnapshots`.
    pub delete_failed_snapshots: DeleteFailedSnapshots,
    /// Step `deleteOrphanedSources`.
    pub delete_orphaned_sources: DeleteOrphanedSources,
    /// Step `restartProvisioner`.
    pub restart_provisioner: RestartProvisioner,
    /// Step `verifyProvisioning`.
    pub verify_provisioning: VerifyProvisioning,
    /// Step `resumeSources`.
    pub resume_sources: ResumeSources,
    /// Final verification of a run.
    pub verdict: VerdictSettings,
}

/// Step `suspendSources`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SuspendSources {
    /// Scope of the hold.
    pub scope: HoldScope,
    /// Time for every API server to see the hold; a snapshot made meanwhile does not fail the step.
    pub settle: Duration,
    /// Time limit to create the hold and prove that it is enforced.
    pub within: Duration,
    /// Time after its creation at which the API server ends the hold; never extended.
    pub deadline: Duration,
}

impl Default for SuspendSources {
    fn default() -> Self {
        Self {
            scope: HoldScope::Sources,
            settle: Duration::from_secs(2),
            within: Duration::from_secs(60),
            deadline: Duration::from_secs(2 * 3600),
        }
    }
}

/// Scope of a hold.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldScope {
    /// Snapshots and clones of the ReplicationSources.
    #[default]
    Sources,
    /// Also every snapshot of the driver's VolumeSnapshotClasses, whichever tool takes it.
    Classes,
}

/// Step `deleteFailedSnapshots`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteFailedSnapshots {
    /// Failed snapshots that may be deleted.
    pub scope: DeleteScope,
    /// Time after a restart of the provisioner in which snapshots may become ready by themselves. After it, those still failed
    /// are deleted, and hung deletions are annotated.
    pub settle: Duration,
    /// Time limit until all are gone or terminating.
    pub within: Duration,
}

impl Default for DeleteFailedSnapshots {
    fn default() -> Self {
        Self {
            scope: DeleteScope::Volsync,
            settle: Duration::from_secs(15),
            within: Duration::from_secs(2 * 60),
        }
    }
}

/// Failed snapshots that may be deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteScope {
    /// Those of VolSync, with its label and a ReplicationSource as controller.
    #[default]
    Volsync,
    /// Every dynamically provisioned one that nothing protects.
    All,
}

/// Step `deleteOrphanedSources`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteOrphanedSources {
    /// Time limit until the sources are gone.
    pub within: Duration,
}

impl Default for DeleteOrphanedSources {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(2 * 60),
        }
    }
}

/// Step `restartProvisioner`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartProvisioner {
    /// Time limit until the new pods are Ready and hold the leases.
    pub within: Duration,
}

impl Default for RestartProvisioner {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(5 * 60),
        }
    }
}

/// Step `verifyProvisioning`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyProvisioning {
    /// Time limit until the claims that were Pending at the start are Bound, counted from the takeover of the leases.
    pub within: Duration,
}

impl Default for VerifyProvisioning {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(5 * 60),
        }
    }
}

/// Step `resumeSources`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeSources {
    /// Sources that are released before the deadline.
    pub when: ResumeWhen,
    /// If set, all sources are released once at least this share of the apps runs.
    pub resume_all_above: Option<Percent>,
    /// Number of sources released at a time.
    #[schemars(range(min = 1))]
    pub batch: u32,
    /// Pause between two batches, as too many snapshots at once can jam the driver again.
    pub every: Duration,
    /// Annotates each released source, so that VolSync retries at once instead of within 17 minutes. Requires the right to patch
    /// ReplicationSources.
    pub nudge: bool,
}

impl Default for ResumeSources {
    fn default() -> Self {
        Self {
            when: ResumeWhen::Running,
            resume_all_above: None,
            batch: 10,
            every: Duration::from_secs(10),
            nudge: false,
        }
    }
}

/// Sources that are released before the deadline.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResumeWhen {
    /// Those whose claim a running pod mounts.
    #[default]
    Running,
    /// Those whose claim is Bound.
    Bound,
    /// All.
    All,
}

/// Final verification of a run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct VerdictSettings {
    /// Number of latest lines of each replica's log that are searched for lock errors.
    pub log_lines: u32,
    /// Namespaces whose apps must be Running; if empty, those of the held sources.
    pub namespaces: Vec<SharedStr>,
    /// Time limit until all checks pass.
    pub within: Duration,
}

impl Default for VerdictSettings {
    fn default() -> Self {
        Self {
            log_lines: 50,
            namespaces: Vec::new(),
            within: Duration::from_secs(5 * 60),
        }
    }
}
