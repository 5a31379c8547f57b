//! Settings of the program and of the cluster that tests vary.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use locksmith::demo::world::{Timings, WorldConfig};

use super::NAMESPACE;

/// The program's configuration, as far as tests vary it.
pub struct Settings {
    pub mode: &'static str,
    /// Time for which a claim must be missing before its source is orphaned.
    pub orphaned_after: &'static str,
    /// Time for every API server to see a hold.
    pub settle: &'static str,
    pub deadline: &'static str,
    /// Time after a run before another one of its cause starts.
    pub cooldown: &'static str,
    /// The steps for a jam, in order. By default those of the manual playbook: snapshots are deleted before the restart, so
    /// that every run deletes some.
    pub steps: &'static str,
    /// Time limit for the hold to be created and proven.
    pub suspend_within: &'static str,
    /// Time limit for snapshots to be marked for deletion.
    pub delete_within: &'static str,
    /// Number of finished runs that are kept.
    pub keep: u32,
    /// Authentication of the webhook.
    pub auth: &'static str,
    /// Accepted alerts.
    pub alertmanager: String,
    /// Prometheus of the PromQL gates.
    pub prometheus: String,
    /// Additional gates, as `, name: value`.
    pub gates: &'static str,
    /// Time limit for the restart, for the restores and for the verification, each.
    pub within: &'static str,
    /// Whether released sources are annotated.
    pub nudge: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: "act",
            orphaned_after: "1s",
            settle: "2s",
            deadline: "10m",
            cooldown: "1m",
            steps: "suspendSources, deleteFailedSnapshots, restartProvisioner, verifyProvisioning, resumeSources",
            suspend_within: "1m",
            delete_within: "2m",
            keep: 50,
            auth: "{}",
            alertmanager: "{}".to_owned(),
            prometheus: "{}".to_owned(),
            gates: "",
            within: "5m",
            nudge: false,
        }
    }
}

impl Settings {
    /// The configuration file: the default order of events, in seconds instead of minutes.
    pub fn yaml(&self) -> String {
        let Self {
            mode,
            orphaned_after,
            settle,
            deadline,
            cooldown,
            steps,
            suspend_within,
            delete_within,
            keep,
            auth,
            alertmanager,
            prometheus,
            gates,
            within,
            nudge,
        } = self;
        format!(
            "
mode: {mode}
remediation: {{namespace: {NAMESPACE}, keep: {keep}}}
detect: {{pendingAfter: 1s, failedAfter: 1s, orphanedAfter: {orphaned_after}, lockedAfter: 1s}}
steps:
  suspendSources: {{settle: {settle}, within: {suspend_within}, deadline: {deadline}}}
  deleteFailedSnapshots: {{settle: 1s, within: {delete_within}}}
  restartProvisioner: {{within: {within}}}
  verifyProvisioning: {{within: {within}}}
  verdict: {{within: {within}}}
  resumeSources: {{batch: 20, every: 1s, nudge: {nudge}}}
gates: {{cooldown: {cooldown}, minimumAge: 1s, progressWithin: 1s{gates}}}
server: {{auth: {auth}}}
playbooks:
  csi-operation-locks:
    alerts: [['alertname=\"LocksmithOperationLocked\"'], ['alertname=\"LocksmithRestoreStuck\"']]
    steps: [{steps}]
  failed-snapshots:
    alerts: [['alertname=\"LocksmithSnapshotFailed\"']]
    steps: [suspendSources, deleteFailedSnapshots, resumeSources]
    attempts: 1
  orphaned-sources:
    alerts: [['alertname=\"LocksmithSourceOrphaned\"']]
    steps: [deleteOrphanedSources]
    attempts: 1
    approval: true
alertmanager: {alertmanager}
prometheus: {prometheus}
"
        )
    }
}

/// The cluster, as far as tests vary it.
pub struct Setup {
    pub world: WorldConfig,
    /// The definition of ReplicationSource, unless it is that with the fields that are used here.
    pub sources: Option<CustomResourceDefinition>,
    /// Whether the policy that enforces holds is installed.
    pub policy: bool,
    /// Definitions that other tests do not need.
    pub others: Vec<CustomResourceDefinition>,
    /// Rights of the program.
    pub rights: Rights,
}

/// Rights of the program.
pub enum Rights {
    /// All rights, so that only the program itself limits its actions.
    All,
    /// The rights that are installed for this mode.
    Installed(&'static str),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            world: WorldConfig::new(Timings::fast()),
            sources: None,
            policy: true,
            others: Vec::new(),
            rights: Rights::All,
        }
    }
}
