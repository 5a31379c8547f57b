//! How each step goes about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent};
use crate::api::SharedStr;

/// How each step goes about it.
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
    /// The verification that ends a run.
    pub verdict: VerdictSettings,
}

/// Step `suspendSources`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SuspendSources {
    /// What the hold covers.
    pub scope: HoldScope,
    /// How long every API server may take to see the hold: a snapshot made meanwhile does not fail the step.
    pub settle: Duration,
    /// How long it may take to create the hold and to prove it.
    pub within: Duration,
    /// When the API server ends the hold, counted from its creation. Never extended.
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

/// What a hold covers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldScope {
    /// Snapshots and clones of the ReplicationSources.
    #[default]
    Sources,
    /// Those, and every snapshot of the driver's VolumeSnapshotClasses, whichever tool asks for it.
    Classes,
}

/// Step `deleteFailedSnapshots`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteFailedSnapshots {
    /// Which failed snapshots may be deleted.
    pub scope: DeleteScope,
    /// How long after a restart of the provisioner snapshots may still become ready by themselves: those that have not are
    /// deleted then, and a deletion that has not ended is touched.
    pub settle: Duration,
    /// How long the cluster may take to mark them for deletion.
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

/// Which failed snapshots may be deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteScope {
    /// VolSync's own: its label, and a ReplicationSource as controller.
    #[default]
    Volsync,
    /// Every dynamically made one that nothing protects.
    All,
}

/// Step `deleteOrphanedSources`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteOrphanedSources {
    /// How long the sources may take to be gone.
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
    /// How long new pods may take to be Ready, and leases to be taken over.
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
    /// How long the claims listed at the start may take to be Bound, counted from the takeover of the leases.
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
    /// Which sources are resumed before the deadline.
    pub when: ResumeWhen,
    /// Where set, all are resumed once at least this share of the apps runs.
    pub resume_all_above: Option<Percent>,
    /// How many sources are resumed at a time.
    #[schemars(range(min = 1))]
    pub batch: u32,
    /// Pause between two batches: the storm of snapshots after a resume can jam the driver again.
    pub every: Duration,
    /// Annotates each released source, so that VolSync retries at once and not within 17 minutes. Needs the right to patch
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

/// Which sources are resumed before the deadline.
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

/// The verification that ends a run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct VerdictSettings {
    /// How many lines of each replica's log are searched for lock errors.
    pub log_lines: u32,
    /// Namespaces whose apps must be Running; where empty, those of the sources that were held.
    pub namespaces: Vec<SharedStr>,
    /// How long all checks may take to pass.
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
