//! The configuration: one YAML file in, one validated [`Config`] out, or every fault with its path.
//!
//! `deploy/locksmith.yaml` is the annotated example; a test holds it against the defaults here.

mod check;
mod duration;
mod file;
mod percent;
mod playbooks;
mod server;
mod window;

pub use duration::Duration;
pub use file::{ConfigError, load, parse};
pub use percent::Percent;
pub use playbooks::{Matcher, Playbook, Playbooks};
pub use server::{Auth, Server, Tls};
pub use window::Window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Sym;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// How far the program may go.
    pub mode: Mode,
    /// When something counts as stuck.
    pub detect: Detect,
    /// The CSI drivers that are watched.
    pub drivers: Drivers,
    /// How alerts become runs.
    pub remediation: Remediation,
    /// How each step goes about it.
    pub steps: Steps,
    /// What must be true before anything is done.
    pub gates: Gates,
    /// What each playbook does and which alerts start it.
    pub playbooks: playbooks::Playbooks,
    /// Where gates ask their expressions.
    pub prometheus: Prometheus,
    /// Whose alerts are taken, and where those that fire are read beside the webhook.
    pub alertmanager: Alertmanager,
    /// The HTTP server.
    pub server: Server,
}

/// How far the program may go.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Looks and tells; writes nothing at all.
    #[default]
    Observe,
    /// Records in a Remediation what it would do.
    Plan,
    /// Does it.
    Act,
}

impl Mode {
    /// The mode as the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Plan => "plan",
            Self::Act => "act",
        }
    }
}

/// When something counts as stuck.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Detect {
    /// A PersistentVolumeClaim is a finding when Pending for longer than this.
    pub pending_after: Duration,
    /// A VolumeSnapshot is a finding when not ready for longer than this after its creation.
    pub failed_after: Duration,
    /// A ReplicationSource is a finding when its claim has been missing for longer than this.
    pub orphaned_after: Duration,
    /// An operation lock is a finding when the same key has been refused for longer than this. Where unset, the
    /// longer of 5 minutes and twice the driver's `grpcTimeout`.
    pub locked_after: Option<Duration>,
}

impl Default for Detect {
    fn default() -> Self {
        Self {
            pending_after: Duration::from_secs(10 * 60),
            failed_after: Duration::from_secs(10 * 60),
            orphaned_after: Duration::from_secs(10 * 60),
            locked_after: None,
        }
    }
}

/// The watched CSI drivers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Drivers(pub Vec<Driver>);

/// One watched CSI driver, or several of one make.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Driver {
    /// The driver's name; a leading `*` stands for anything, as Rook puts its namespace in front.
    pub name: Sym,
    /// The container of the provisioner's pods whose log tells of locks.
    pub container: Sym,
    /// `--timeout` of its sidecars.
    #[serde(default = "Driver::default_grpc_timeout")]
    pub grpc_timeout: Duration,
    /// Further regular expressions for its lock messages, each with a group called `key`.
    #[serde(default)]
    pub lock_patterns: Vec<String>,
}

impl Driver {
    fn default_grpc_timeout() -> Duration {
        Duration::from_secs(150)
    }

    fn ceph(name: &str, container: &str) -> Self {
        Self {
            name: name.into(),
            container: container.into(),
            grpc_timeout: Self::default_grpc_timeout(),
            lock_patterns: Vec::new(),
        }
    }

    /// Whether this entry is about the driver called `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.name
            .strip_prefix('*')
            .map_or(*self.name == *name, |suffix| name.ends_with(suffix))
    }
}

impl Default for Drivers {
    fn default() -> Self {
        Self(vec![
            Driver::ceph("*.rbd.csi.ceph.com", "csi-rbdplugin"),
            Driver::ceph("*.cephfs.csi.ceph.com", "csi-cephfsplugin"),
        ])
    }
}

impl Drivers {
    /// The entry for the driver called `name`, or `None` when it is not watched.
    pub fn find(&self, name: &str) -> Option<&Driver> {
        self.0.iter().find(|driver| driver.matches(name))
    }
}

/// How alerts become runs.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Remediation {
    /// Namespace the Remediation objects live in; where unset, the program's own.
    pub namespace: Option<Sym>,
    /// How many finished Remediations are kept.
    pub keep: u32,
    /// How long finished Remediations are kept.
    pub keep_for: Duration,
}

impl Default for Remediation {
    fn default() -> Self {
        Self {
            namespace: None,
            keep: 50,
            keep_for: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// How each step goes about it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
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
    pub verdict: Verdict,
}

/// Step `suspendSources`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SuspendSources {
    /// How sources are held.
    pub method: SuspendMethod,
    /// How long VolSync may take to notice: a snapshot made meanwhile is not held against the hold.
    pub settle: Duration,
    /// How long after that no new snapshot of a held source may appear. VolSync looks at a running synchronisation
    /// once a minute.
    pub quiet_period: Duration,
    /// How long the holds themselves may take.
    pub within: Duration,
    /// When every hold is released in any case, counted from its taking.
    pub deadline: Duration,
}

impl Default for SuspendSources {
    fn default() -> Self {
        Self {
            method: SuspendMethod::Auto,
            settle: Duration::from_secs(5),
            quiet_period: Duration::from_secs(75),
            within: Duration::from_secs(5 * 60),
            deadline: Duration::from_secs(2 * 3600),
        }
    }
}

/// How sources are held.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SuspendMethod {
    /// `spec.suspend` where the CRD has it; else `spec.paused` and the copy trigger together.
    #[default]
    Auto,
    /// `spec.paused` alone: VolSync goes on making snapshots, and the step's verification says so.
    Paused,
}

/// Step `deleteFailedSnapshots`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteFailedSnapshots {
    /// Which failed snapshots may be deleted.
    pub scope: DeleteScope,
    /// How long the cluster may take to mark them for deletion.
    pub within: Duration,
}

impl Default for DeleteFailedSnapshots {
    fn default() -> Self {
        Self {
            scope: DeleteScope::Volsync,
            within: Duration::from_secs(2 * 60),
        }
    }
}

/// Which failed snapshots may be deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteScope {
    /// VolSync's own: its label, and a ReplicationSource as controller.
    #[default]
    Volsync,
    /// Every dynamically made one that nothing protects.
    All,
}

/// Step `deleteOrphanedSources`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeSources {
    /// Which sources are resumed before the deadline.
    pub when: ResumeWhen,
    /// Where set, all are resumed once at least this share of the apps runs.
    pub resume_all_above: Option<Percent>,
    /// How many sources are resumed at a time.
    pub batch: u32,
    /// Pause between two batches: the storm of snapshots after a resume can jam the driver again.
    pub every: Duration,
}

impl Default for ResumeSources {
    fn default() -> Self {
        Self {
            when: ResumeWhen::Running,
            resume_all_above: None,
            batch: 10,
            every: Duration::from_secs(10),
        }
    }
}

impl ResumeSources {
    /// When holds of a run that went well are released.
    pub fn policy(&self) -> crate::holds::ReleasePolicy {
        crate::holds::ReleasePolicy {
            when: self.when,
            all_above: self.resume_all_above,
        }
    }
}

/// Which sources are resumed before the deadline.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// How many lines of each replica's log are searched for lock errors.
    pub log_lines: u32,
    /// Namespaces whose apps must be Running; where empty, those of the sources that were held.
    pub namespaces: Vec<Sym>,
    /// How long all checks may take to pass.
    pub within: Duration,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            log_lines: 50,
            namespaces: Vec::new(),
            within: Duration::from_secs(5 * 60),
        }
    }
}

/// What must be true before anything is done.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Gates {
    /// Most snapshots one run may delete, as a number.
    pub max_deletions: u32,
    /// Most snapshots one run may delete, as a share of the ReplicationSources there are.
    pub max_deletions_share: Percent,
    /// How long after a finished run of the same cause no other begins.
    pub cooldown: Duration,
    /// How long a run may wait for its gates before it fails.
    pub give_up_after: Duration,
    /// How long the oldest finding must have stood.
    pub minimum_age: Duration,
    /// How long the driver must not have made a volume.
    pub progress_within: Duration,
    /// How often runs may begin.
    pub budgets: Budgets,
    /// After how many failed runs in a row no other begins until a person resets the breaker.
    pub breaker_after: u32,
    /// When runs may begin; where empty, at any time.
    pub windows: Vec<Window>,
    /// What Ceph may say of its health.
    pub ceph_health: Vec<String>,
    /// Expressions by name; any that returns something closes the gate.
    pub promql: std::collections::BTreeMap<String, String>,
    /// How long an approval counts.
    pub approval_lasts: Duration,
}

/// How often runs may begin.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Budgets {
    /// The span in which they are counted.
    pub within: Duration,
    /// Runs in the whole cluster.
    pub per_cluster: u32,
    /// Runs of one playbook.
    pub per_playbook: u32,
    /// Runs that restart the same provisioner.
    pub per_object: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(24 * 3600),
            per_cluster: 8,
            per_playbook: 4,
            per_object: 3,
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            max_deletions: 50,
            max_deletions_share: Percent::new(50),
            cooldown: Duration::from_secs(30 * 60),
            give_up_after: Duration::from_secs(6 * 3600),
            minimum_age: Duration::from_secs(2 * 60),
            progress_within: Duration::from_secs(60),
            budgets: Budgets::default(),
            breaker_after: 3,
            windows: Vec::new(),
            ceph_health: vec!["HEALTH_OK".to_owned(), "HEALTH_WARN".to_owned()],
            promql: std::collections::BTreeMap::new(),
            approval_lasts: Duration::from_secs(24 * 3600),
        }
    }
}

/// Where gates ask their expressions.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Its address, such as `http://prometheus.monitoring:9090`.
    pub url: Option<String>,
    /// How often it is asked.
    pub interval: Duration,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            url: None,
            interval: Duration::from_secs(30),
        }
    }
}

/// Whose alerts are taken, and where those that fire are read beside the webhook.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Alertmanager {
    /// Its address, such as `http://alertmanager.monitoring:9093`.
    pub url: Option<String>,
    /// How often they are read.
    pub interval: Duration,
    /// What the labels of every alert must match, however it comes.
    pub require: Vec<Matcher>,
}

impl Alertmanager {
    /// Whether an alert with these labels is about this cluster.
    pub fn is_ours(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.require.iter().all(|matcher| matcher.matches(labels))
    }
}

impl Default for Alertmanager {
    fn default() -> Self {
        Self {
            url: None,
            interval: Duration::from_secs(5 * 60),
            require: Vec::new(),
        }
    }
}
