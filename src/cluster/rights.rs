//! The rights that the daemon needs for a configuration: `deploy/` grants them, and `locksmith check` reviews them. Pure.
//!
//! One test compares them with the shipped roles, another the roles with the requests of a daemon on a real API server.

use std::collections::BTreeSet;

use super::leader::LEASE_NAME;
use crate::api::hold::POLICY_NAME;
use crate::api::{SharedStr, StepName};
use crate::config::{Config, Mode};

use Scope::{Everywhere, Own, Provisioners};

/// One verb on one resource.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Right {
    /// Its purpose.
    pub purpose: Purpose,
    /// The namespace; every namespace if empty.
    pub namespace: SharedStr,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource: `pods/log`.
    pub resource: &'static str,
    /// Name of the only object; any if empty.
    pub name: &'static str,
    /// Verb.
    pub verb: &'static str,
}

/// Purpose of a right.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Purpose {
    /// Observing the cluster, in every mode.
    Observe,
    /// Reading the logs of provisioners, in every mode.
    Logs,
    /// Authenticating clients of the server.
    Authenticate,
    /// Leading, recording runs and releasing holds, in the modes plan and act.
    Record,
    /// A step, in mode act.
    Step(StepName),
}

/// Namespace of a right.
#[derive(Clone, Copy)]
enum Scope {
    Everywhere,
    /// The namespace of Remediations and SnapshotHolds.
    Own,
    /// Each namespace that may hold provisioners.
    Provisioners,
}

/// Verbs on resources of one API group.
struct Rule {
    scope: Scope,
    group: &'static str,
    resources: &'static [&'static str],
    /// Name of the only object; any if empty.
    name: &'static str,
    verbs: &'static [&'static str],
}

type Texts = &'static [&'static str];

const fn rule(scope: Scope, group: &'static str, resources: Texts, verbs: Texts) -> Rule {
    Rule {
        scope,
        group,
        resources,
        name: "",
        verbs,
    }
}

impl Rule {
    const fn only(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
}

const WATCH: Texts = &["list", "watch"];

const APPS: &str = "apps";
const COORDINATION: &str = "coordination.k8s.io";
const LOCKSMITH: &str = "locksmith.dev";
const POLICIES: &str = "admissionregistration.k8s.io";
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
const VOLSYNC: &str = "volsync.backube";

const OBSERVE: &[Rule] = &[
    // get: only the API server's own 404 proves that a claim is missing.
    rule(
        Everywhere,
        "",
        &["persistentvolumeclaims"],
        &["get", "list", "watch"],
    ),
    rule(
        Everywhere,
        "",
        &["persistentvolumes", "pods", "nodes"],
        WATCH,
    ),
    rule(Everywhere, "", &["namespaces", "events"], WATCH),
    rule(
        Everywhere,
        APPS,
        &["deployments", "statefulsets", "daemonsets"],
        WATCH,
    ),
    rule(Everywhere, COORDINATION, &["leases"], WATCH),
    rule(Everywhere, "storage.k8s.io", &["storageclasses"], WATCH),
    rule(
        Everywhere,
        SNAPSHOTS,
        &["volumesnapshots", "volumesnapshotclasses"],
        WATCH,
    ),
    rule(Everywhere, SNAPSHOTS, &["volumesnapshotcontents"], WATCH),
    rule(
        Everywhere,
        VOLSYNC,
        &["replicationsources", "replicationdestinations"],
        WATCH,
    ),
    rule(Everywhere, "ceph.rook.io", &["cephclusters"], WATCH),
    rule(
        Everywhere,
        LOCKSMITH,
        &["remediations", "snapshotholds"],
        WATCH,
    ),
    rule(
        Everywhere,
        POLICIES,
        &["validatingadmissionpolicies"],
        WATCH,
    )
    .only(POLICY_NAME),
    rule(
        Everywhere,
        POLICIES,
        &["validatingadmissionpolicybindings"],
        WATCH,
    )
    .only(POLICY_NAME),
];

const LOGS: &[Rule] = &[rule(Provisioners, "", &["pods/log"], &["get"])];

const AUTHENTICATE: &[Rule] = &[
    rule(
        Everywhere,
        "authentication.k8s.io",
        &["tokenreviews"],
        &["create"],
    ),
    rule(
        Everywhere,
        "authorization.k8s.io",
        &["subjectaccessreviews"],
        &["create"],
    ),
];

const RECORD: &[Rule] = &[
    rule(Everywhere, "", &["events"], &["create"]),
    rule(Own, COORDINATION, &["leases"], &["create"]),
    rule(Own, COORDINATION, &["leases"], &["get", "update"]).only(LEASE_NAME),
    rule(
        Own,
        LOCKSMITH,
        &["remediations"],
        &["get", "create", "patch", "delete"],
    ),
    rule(Own, LOCKSMITH, &["remediations/status"], &["update"]),
    rule(
        Own,
        LOCKSMITH,
        &["snapshotholds"],
        &["get", "patch", "delete"],
    ),
];

/// The hold, and its proof by dry-run creates.
const SUSPEND: &[Rule] = &[
    rule(Own, LOCKSMITH, &["snapshotholds"], &["create"]),
    rule(Own, SNAPSHOTS, &["volumesnapshots"], &["create"]),
];

const RESTART: &[Rule] = &[
    rule(Provisioners, APPS, &["deployments"], &["get", "patch"]),
    rule(Provisioners, "", &["pods"], &["get", "delete"]),
    // The handover.
    rule(Provisioners, COORDINATION, &["leases"], &["get", "patch"]),
];

const DELETE_SNAPSHOTS: &[Rule] = &[
    rule(
        Everywhere,
        SNAPSHOTS,
        &["volumesnapshots"],
        &["get", "delete"],
    ),
    rule(Everywhere, SNAPSHOTS, &["volumesnapshotcontents"], &["get"]),
];

/// A touched content frees a hung deletion.
const VERIFY: &[Rule] = &[rule(
    Everywhere,
    SNAPSHOTS,
    &["volumesnapshotcontents"],
    &["get", "patch"],
)];

const DELETE_ORPHANS: &[Rule] = &[rule(
    Everywhere,
    VOLSYNC,
    &["replicationsources"],
    &["get", "delete"],
)];

/// With `steps.resumeSources.nudge`.
const NUDGE: &[Rule] = &[rule(
    Everywhere,
    VOLSYNC,
    &["replicationsources"],
    &["get", "patch"],
)];

/// The rules of a step. Releasing is in [`RECORD`], since every mode but observe does it.
fn of_step(step: StepName) -> &'static [Rule] {
    match step {
        StepName::SuspendSources => SUSPEND,
        StepName::RestartProvisioner => RESTART,
        StepName::DeleteFailedSnapshots => DELETE_SNAPSHOTS,
        StepName::VerifyProvisioning => VERIFY,
        StepName::ResumeSources => &[],
        StepName::DeleteOrphanedSources => DELETE_ORPHANS,
    }
}

/// Every right that a daemon with this configuration needs, with its Remediations in `namespace`.
pub fn needed(config: &Config, namespace: &str) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let mut add = |purpose, rules: &[Rule]| {
        for rule in rules {
            rights.extend(of_rule(purpose, rule, config, namespace));
        }
    };
    add(Purpose::Observe, OBSERVE);
    add(Purpose::Logs, LOGS);
    if config.server.auth.kubernetes {
        add(Purpose::Authenticate, AUTHENTICATE);
    }
    if config.mode != Mode::Observe {
        add(Purpose::Record, RECORD);
    }
    if config.mode == Mode::Act {
        let steps = config.playbooks.0.values().flat_map(|one| &one.steps);
        for step in steps {
            add(Purpose::Step(*step), of_step(*step));
        }
        if config.steps.resume_sources.nudge {
            add(Purpose::Step(StepName::ResumeSources), NUDGE);
        }
    }
    rights
}

/// Namespaces of provisioners: those that are searched, and those of provisioners that the configuration names.
fn provisioner_namespaces(config: &Config) -> Vec<SharedStr> {
    let mut all = config.provisioner_namespaces.0.clone();
    for named in config
        .drivers
        .0
        .iter()
        .filter_map(|it| it.provisioner.as_ref())
    {
        if !all.contains(&named.namespace) {
            all.push(named.namespace.clone());
        }
    }
    all
}

fn of_rule(purpose: Purpose, rule: &Rule, config: &Config, namespace: &str) -> Vec<Right> {
    let namespaces = match rule.scope {
        Everywhere => vec![SharedStr::default()],
        Own => vec![SharedStr::from(namespace)],
        Provisioners => provisioner_namespaces(config),
    };
    let mut rights = Vec::new();
    for namespace in namespaces {
        for resource in rule.resources {
            rights.extend(rule.verbs.iter().map(|verb| Right {
                purpose,
                namespace: namespace.clone(),
                group: rule.group,
                resource,
                name: rule.name,
                verb,
            }));
        }
    }
    rights
}

impl Purpose {
    /// The purpose in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observation",
            Self::Logs => "logs of provisioners",
            Self::Authenticate => "server.auth.kubernetes",
            Self::Record => "recording runs",
            Self::Step(step) => step.as_str(),
        }
    }
}

impl std::fmt::Display for Right {
    /// In the notation of `kubectl auth can-i`: `patch deployments.apps -n rook-ceph`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (resource, part) = match self.resource.split_once('/') {
            Some((resource, part)) => (resource, format!(" --subresource={part}")),
            None => (self.resource, String::new()),
        };
        write!(f, "{} {resource}", self.verb)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        f.write_str(&part)?;
        if !self.namespace.is_empty() {
            write!(f, " -n {}", self.namespace)?;
        }
        Ok(())
    }
}
