//! What tests vary of the program and of the cluster.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use locksmith::demo::world::{Timings, WorldConfig};

use super::NAMESPACE;

/// What tests vary of the program's configuration.
pub struct Settings {
    pub mode: &'static str,
    /// How long a claim has to be missing before its source is orphaned.
    pub orphaned_after: &'static str,
    /// How long every API server may take to see a hold.
    pub settle: &'static str,
    pub deadline: &'static str,
    /// How long after a run no other of its cause begins.
    pub cooldown: &'static str,
    /// The steps about a jam, in order. By default those of the manual playbook: snapshots are deleted before the restart,
    /// so that every run deletes some.
    pub steps: &'static str,
    /// How long snapshots may take to be marked for deletion.
    pub delete_within: &'static str,
    /// How many finished runs are kept.
    pub keep: u32,
    /// Who may post.
    pub auth: &'static str,
    /// Whose alerts are taken.
    pub alertmanager: String,
    /// Where PromQL gates ask.
    pub prometheus: String,
    /// Further gates, as `, name: value`.
    pub gates: &'static str,
    /// How long a restart, then the restores, then the verification may take, each.
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
    /// The configuration file: the same order of events as by default, in seconds instead of minutes.
    pub fn yaml(&self) -> String {
        let Self {
            mode,
            orphaned_after,
            settle,
            deadline,
            cooldown,
            steps,
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
  suspendSources: {{settle: {settle}, deadline: {deadline}}}
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

/// What tests vary of the cluster.
pub struct Setup {
    pub world: WorldConfig,
    /// The definition of ReplicationSource, unless it is that with the fields that are used here.
    pub sources: Option<CustomResourceDefinition>,
    /// Whether the policy that enforces holds is installed.
    pub policy: bool,
    /// Definitions that other tests can do without.
    pub others: Vec<CustomResourceDefinition>,
    /// What the program may do.
    pub rights: Rights,
}

/// What the program may do.
pub enum Rights {
    /// Everything, so that nothing but the program itself keeps it from anything.
    All,
    /// What is installed for this mode allows, and no more.
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
