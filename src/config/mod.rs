//! The configuration: parses one YAML file into a validated [`Config`], or returns every error with its path.
//!
//! `deploy/locksmith.yaml` is the annotated example; a test compares it with the defaults here.

mod check;
mod duration;
mod file;
mod gates;
mod http;
mod percent;
mod playbooks;
mod schema;
mod server;
mod steps;
mod window;

pub use check::warnings;
pub use duration::Duration;
pub use file::{ConfigError, load, parse};
pub use gates::{Budgets, Gates};
pub use http::{BasicAuth, HttpAccess, RESERVED_HEADERS, api_url};
pub use percent::Percent;
pub use playbooks::{Matcher, Playbook, Playbooks};
pub use schema::schema;
pub use server::{Auth, Link, Server, Tls};
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

/// Configuration of locksmith.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Mode of operation.
    pub mode: Mode,
    /// Thresholds after which something counts as stuck.
    pub detect: Detect,
    /// CSI drivers to watch.
    pub drivers: Drivers,
    /// Namespaces of their provisioners.
    pub provisioner_namespaces: ProvisionerNamespaces,
    /// Remediation objects.
    pub remediation: Remediation,
    /// Settings of each step.
    pub steps: Steps,
    /// Conditions that must hold before a run acts.
    pub gates: Gates,
    /// Playbooks: their steps, and the alerts that start them.
    pub playbooks: playbooks::Playbooks,
    /// Prometheus, which evaluates the expressions of gates.
    pub prometheus: Prometheus,
    /// Alertmanager: accepted alerts, and polling in addition to the webhook.
    pub alertmanager: Alertmanager,
    /// HTTP server.
    pub server: Server,
}

/// Mode of operation.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Reports findings; writes nothing.
    #[default]
    Observe,
    /// Records the plan of a run in a Remediation, without running it.
    Plan,
    /// Runs it.
    Act,
}

impl Mode {
    /// The mode as spelled in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Plan => "plan",
            Self::Act => "act",
        }
    }
}

/// Thresholds after which something counts as stuck.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Detect {
    /// Age at which a Pending PersistentVolumeClaim becomes a finding.
    pub pending_after: Duration,
    /// Age at which a VolumeSnapshot that is not ready becomes a finding.
    pub failed_after: Duration,
    /// Age at which a VolumeSnapshot that is not ready, but accepted by its driver, becomes a finding.
    pub processing_after: Duration,
    /// Time after which the deletion of a VolumeSnapshot or its content becomes a finding.
    pub deleting_after: Duration,
    /// Time after which a ReplicationSource whose claim is missing becomes a finding.
    pub orphaned_after: Duration,
    /// Time after which a key that is still refused becomes a finding. If unset, the longer of 5 minutes and twice the
    /// driver's `grpcTimeout`. If it is unset, half of what exceeds the `grpcTimeout` (75 s by default) suffices in a jam: the
    /// driver refuses the own calls of five objects or more, its leader Lease is known, it has created nothing for as long, at
    /// least for the `grpcTimeout`, and no CephCluster reports other than `HEALTH_OK`.
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

/// CSI drivers to watch. The first entry that matches a driver applies; without entries, every CSI driver is watched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Drivers(pub Vec<Driver>);

/// A CSI driver to watch, or several with the same end of their name.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Driver {
    /// Name of the driver; a leading `*` matches any prefix, such as the namespace that Rook adds.
    #[schemars(extend("pattern" = r"^\*?[^*]+$"))]
    pub name: SharedStr,
    /// Container of the provisioner's pods whose log shows locks. If unset, that of the driver's preset.
    #[serde(default)]
    pub container: Option<SharedStr>,
    /// Value of `--timeout` of its sidecars.
    #[serde(default = "Driver::default_grpc_timeout")]
    pub grpc_timeout: Duration,
    /// Additional regular expressions for its lock messages, each with a group called `key`.
    #[serde(default)]
    #[schemars(inner(regex(pattern = r"\(\?P?<key>")))]
    pub lock_patterns: Vec<String>,
    /// Workload of its provisioner, if it cannot be found by the leases of its sidecars.
    #[serde(default)]
    pub provisioner: Option<ProvisionerRef>,
}

/// The workload that runs a driver's external-provisioner.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisionerRef {
    /// Namespace of the workload; need not be listed in `provisionerNamespaces`.
    pub namespace: SharedStr,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub name: SharedStr,
}

/// Kind of workload that runs a provisioner.
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
    /// The kind as an [`ObjectKind`].
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

/// Namespaces in which Leases and pods of provisioners are looked up. Other namespaces are ignored, since their users can
/// create a Lease of any name.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ProvisionerNamespaces(pub Vec<SharedStr>);

impl Default for ProvisionerNamespaces {
    fn default() -> Self {
        Self(vec!["rook-ceph".into()])
    }
}

/// Settings of drivers without a matching entry.
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

    /// Whether this entry applies to the driver `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.name
            .strip_prefix('*')
            .map_or(*self.name == *name, |suffix| name.ends_with(suffix))
    }

    /// The container whose log reports locks of the driver `name`, if known.
    pub fn log_container(&self, name: &str) -> Option<SharedStr> {
        let preset = || csi::preset(name)?.container.map(SharedStr::from);
        self.container.clone().or_else(preset)
    }
}

impl Drivers {
    /// The entry for the driver `name`, or `None` if it is not watched.
    pub fn find(&self, name: &str) -> Option<&Driver> {
        if self.0.is_empty() {
            return csi::is_csi(name).then(|| &*ANY);
        }
        self.0.iter().find(|driver| driver.matches(name))
    }

    /// The container whose log reports locks of the driver `name`; `None` if it is not known, or the driver is not watched.
    pub fn log_container(&self, name: &str) -> Option<SharedStr> {
        self.find(name)?.log_container(name)
    }
}

/// Remediation objects.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Remediation {
    /// Namespace of the Remediations and SnapshotHolds. If unset, the namespace of the pod.
    pub namespace: Option<SharedStr>,
    /// Number of finished Remediations to keep.
    #[schemars(range(min = 1))]
    pub keep: u32,
    /// Time for which finished Remediations are kept.
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

/// Prometheus, which evaluates the expressions of gates.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// URL, such as `http://prometheus.monitoring:9090`.
    #[schemars(extend("pattern" = r"^https?://[^/?#@]+(/[^?#]*)?$"))]
    pub url: Option<String>,
    /// Interval between two evaluations.
    pub interval: Duration,
    /// Access to its API.
    pub http: HttpAccess,
}

impl Prometheus {
    /// With another URL, if one is given. Credentials, CA and headers are those of the configured URL, so they are dropped.
    #[must_use]
    pub fn or_at(mut self, url: Option<String>) -> Self {
        replace_url(&mut self.url, &mut self.http, url);
        self
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            url: None,
            interval: Duration::from_secs(30),
            http: HttpAccess::default(),
        }
    }
}

/// Sets another URL, if one is given. Access to the configured one is not for it.
fn replace_url(url: &mut Option<String>, http: &mut HttpAccess, other: Option<String>) {
    if other.is_some() && *url != other {
        *url = other;
        *http = HttpAccess::default();
    }
}

/// Alertmanager: accepted alerts, and polling in addition to the webhook.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Alertmanager {
    /// URL, such as `http://alertmanager.monitoring:9093`. If set, firing alerts are also polled.
    #[schemars(extend("pattern" = r"^https?://[^/?#@]+(/[^?#]*)?$"))]
    pub url: Option<String>,
    /// Interval between two polls.
    pub interval: Duration,
    /// Access to its API.
    pub http: HttpAccess,
    /// Matchers that the labels of every alert must satisfy, whether it was sent or polled.
    pub require: Vec<Matcher>,
}

impl Alertmanager {
    /// With another URL, if one is given. Credentials, CA and headers are those of the configured URL, so they are dropped.
    #[must_use]
    pub fn or_at(mut self, url: Option<String>) -> Self {
        replace_url(&mut self.url, &mut self.http, url);
        self
    }

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
            http: HttpAccess::default(),
            require: Vec::new(),
        }
    }
}
