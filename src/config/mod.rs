//! The configuration: one YAML file in, one validated [`Config`] out, or every fault with its path.
//!
//! `deploy/locksmith.yaml` is the annotated example; a test holds it against the defaults here.

mod check;
mod duration;
mod file;
mod gates;
mod percent;
mod playbooks;
mod schema;
mod server;
mod steps;
mod window;

pub use duration::Duration;
pub use file::{ConfigError, load, parse};
pub use gates::{Budgets, Gates};
pub use percent::Percent;
pub use playbooks::{Matcher, Playbook, Playbooks};
pub use schema::schema;
pub use server::{Auth, Server, Tls};
pub use steps::{
    DeleteFailedSnapshots, DeleteOrphanedSources, DeleteScope, HoldScope, RestartProvisioner,
    ResumeSources, ResumeWhen, Steps, SuspendSources, VerdictSettings, VerifyProvisioning,
};
pub use window::Window;

use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{ObjectKind, SharedStr};
use crate::csi;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// How far the program may go.
    pub mode: Mode,
    /// When something counts as stuck.
    pub detect: Detect,
    /// The CSI drivers that are watched.
    pub drivers: Drivers,
    /// Where their provisioners may be.
    pub provisioner_namespaces: ProvisionerNamespaces,
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
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Detect {
    /// A PersistentVolumeClaim is a finding when Pending for longer than this.
    pub pending_after: Duration,
    /// A VolumeSnapshot is a finding when not ready for longer than this after its creation.
    pub failed_after: Duration,
    /// A VolumeSnapshot that its driver has accepted is a finding when not ready for longer than this after its creation.
    pub processing_after: Duration,
    /// A VolumeSnapshot or its content is a finding when being deleted for longer than this.
    pub deleting_after: Duration,
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
            processing_after: Duration::from_secs(6 * 3600),
            deleting_after: Duration::from_secs(10 * 60),
            orphaned_after: Duration::from_secs(10 * 60),
            locked_after: None,
        }
    }
}

/// The CSI drivers that are watched, each by the first entry about it; without any entry, every CSI driver.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Drivers(pub Vec<Driver>);

/// One watched CSI driver, or several of one make.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Driver {
    /// The driver's name; a leading `*` stands for anything, as Rook puts its namespace in front.
    #[schemars(extend("pattern" = r"^\*?[^*]+$"))]
    pub name: SharedStr,
    /// The container of the provisioner's pods whose log tells of locks; where unset, that of the driver's preset.
    #[serde(default)]
    pub container: Option<SharedStr>,
    /// `--timeout` of its sidecars.
    #[serde(default = "Driver::default_grpc_timeout")]
    pub grpc_timeout: Duration,
    /// Further regular expressions for its lock messages, each with a group called `key`.
    #[serde(default)]
    #[schemars(inner(regex(pattern = r"\(\?P?<key>")))]
    pub lock_patterns: Vec<String>,
    /// The workload of its provisioner, where it cannot be found by the leases of its sidecars.
    #[serde(default)]
    pub provisioner: Option<ProvisionerRef>,
}

/// The workload that runs a driver's external-provisioner.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisionerRef {
    /// Namespace. It need not be among `provisionerNamespaces`.
    pub namespace: SharedStr,
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: SharedStr,
}

/// What a provisioner's pods are of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The kind among all those this program names.
    pub fn object_kind(self) -> ObjectKind {
        match self {
            Self::Deployment => ObjectKind::Deployment,
            Self::StatefulSet => ObjectKind::StatefulSet,
            Self::DaemonSet => ObjectKind::DaemonSet,
        }
    }
}

impl fmt::Display for ProvisionerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.object_kind().as_str();
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// Namespaces whose Leases and pods are taken for those of provisioners. Anybody may create a Lease of any name in a
/// namespace of their own: elsewhere none counts.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ProvisionerNamespaces(pub Vec<SharedStr>);

impl Default for ProvisionerNamespaces {
    fn default() -> Self {
        Self(vec!["rook-ceph".into()])
    }
}

/// What holds for every driver where no entry says otherwise.
static ANY: LazyLock<Driver> = LazyLock::new(|| Driver {
    name: "*".into(),
    container: None,
    grpc_timeout: Driver::default_grpc_timeout(),
    lock_patterns: Vec::new(),
    provisioner: None,
});

impl Driver {
    fn default_grpc_timeout() -> Duration {
        Duration::from_secs(150)
    }

    /// Whether this entry is about the driver called `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.name
            .strip_prefix('*')
            .map_or(*self.name == *name, |suffix| name.ends_with(suffix))
    }

    /// The container whose log tells of locks of the driver called `name`, if one is known.
    pub fn log_container(&self, name: &str) -> Option<SharedStr> {
        let preset = || csi::preset(name)?.container.map(SharedStr::from);
        self.container.clone().or_else(preset)
    }
}

impl Drivers {
    /// The entry for the driver called `name`, or `None` when it is not watched.
    pub fn find(&self, name: &str) -> Option<&Driver> {
        if self.0.is_empty() {
            return csi::is_csi(name).then(|| &*ANY);
        }
        self.0.iter().find(|driver| driver.matches(name))
    }
}

/// How alerts become runs.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Remediation {
    /// Namespace the Remediation objects live in; where unset, the program's own.
    pub namespace: Option<SharedStr>,
    /// How many finished Remediations are kept.
    #[schemars(range(min = 1))]
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

/// Where gates ask their expressions.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
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
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
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
