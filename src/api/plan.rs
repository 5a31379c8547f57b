//! The plan in the status of a Remediation: steps, and every object they act on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{LockKey, ObjectKey, SharedStr, SkipReason};

/// Steps of a playbook.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase")]
pub enum StepName {
    /// Hold the ReplicationSources that use the driver.
    SuspendSources,
    /// Replace the pods of the driver's provisioner.
    RestartProvisioner,
    /// Delete the snapshots that are still failed.
    DeleteFailedSnapshots,
    /// Wait until the claims that were Pending are Bound.
    VerifyProvisioning,
    /// Release the held sources.
    ResumeSources,
    /// Delete sources whose claim is gone.
    DeleteOrphanedSources,
}

impl StepName {
    /// Every step, in the order the default playbook runs them: the restart lets most snapshots become ready by themselves,
    /// and one that is deleted before it may hang in its deletion (deploy/docs/adr/0001-restart-before-delete.md).
    pub const ALL: [Self; 6] = [
        Self::SuspendSources,
        Self::RestartProvisioner,
        Self::DeleteFailedSnapshots,
        Self::VerifyProvisioning,
        Self::ResumeSources,
        Self::DeleteOrphanedSources,
    ];

    /// The step as the configuration spells it; a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SuspendSources => "suspendSources",
            Self::DeleteFailedSnapshots => "deleteFailedSnapshots",
            Self::RestartProvisioner => "restartProvisioner",
            Self::VerifyProvisioning => "verifyProvisioning",
            Self::ResumeSources => "resumeSources",
            Self::DeleteOrphanedSources => "deleteOrphanedSources",
        }
    }

    /// Whether the step deletes objects that no controller recreates: these are limited by gate `blastRadius`, and deleted one
    /// by one, each with its evidence.
    pub fn deletes(self) -> bool {
        match self {
            Self::DeleteFailedSnapshots | Self::DeleteOrphanedSources => true,
            Self::SuspendSources
            | Self::RestartProvisioner
            | Self::VerifyProvisioning
            | Self::ResumeSources => false,
        }
    }

    /// Whether the step deletes or restarts something: a plan in which no such step has a target repairs nothing.
    pub fn acts(self) -> bool {
        self.deletes() || self == Self::RestartProvisioner
    }
}

/// Steps of one run, in order, and the objects they act on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// CSI driver to repair.
    pub driver: SharedStr,
    /// Time the plan was made.
    #[schemars(with = "String")]
    pub made_at: Timestamp,
    /// Steps in the order they run.
    pub steps: Vec<PlannedStep>,
    /// Keys of the operation locks found for the driver, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockKey>,
    /// Hash of the steps and the objects they act on, which an approval names. Claims that are only watched are
    /// not included, as they change all the time.
    pub hash: String,
}

/// One step and the objects it acts on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Name of the step.
    pub step: StepName,
    /// Objects the step acts on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Objects that are skipped, each with a reason, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// ReplicationSources to hold: names by namespace, sorted. Without uids, to stay small with ten thousand sources: a hold
    /// destroys nothing, so a source that was recreated under the same name may be held as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<SharedStr, Vec<SharedStr>>,
    /// VolumeSnapshotClasses to hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshot_classes: Vec<SharedStr>,
    /// `spec.replicas` of the workload to restart; if somebody scales it meanwhile, the step fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

/// An object that a step acts on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The object.
    pub object: ObjectKey,
    /// Action on the object. delete: delete it. rollout: annotate the pod template. replace: delete the pod; its controller
    /// recreates it. touch: annotate a hung deletion. handOver: clear the Lease's holder. await: only watch.
    pub action: Action,
}

/// Action on an object; a plain string, because a structural schema cannot describe enum variants.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// Delete it.
    Delete,
    /// Annotate its pod template, which rolls out new pods.
    Rollout,
    /// Delete it so that its controller replaces it, where an operator would revert a rollout.
    Replace,
    /// Annotate it if its deletion hangs, so that its sidecar reconciles it again.
    Touch,
    /// Clear its dead holder, so that the next one need not wait until the lease expires.
    HandOver,
    /// Only watch it.
    Await,
}

impl Action {
    const ALL: [Self; 6] = [
        Self::Delete,
        Self::Rollout,
        Self::Replace,
        Self::Touch,
        Self::HandOver,
        Self::Await,
    ];

    /// The action as plans spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Rollout => "rollout",
            Self::Replace => "replace",
            Self::Touch => "touch",
            Self::HandOver => "handOver",
            Self::Await => "await",
        }
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.as_str().to_owned()
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not an action of a plan"))
    }
}

impl JsonSchema for Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let all = Self::ALL.map(Self::as_str);
        schemars::json_schema!({ "type": "string", "enum": all })
    }
}

/// An object that is skipped.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Skipped {
    /// The object.
    pub object: ObjectKey,
    /// Reason it is skipped.
    pub reason: SkipReason,
    /// The reason in one line.
    #[serde(default)]
    pub message: String,
}

impl Skipped {
    /// With the reason's own message.
    pub fn new(object: ObjectKey, reason: SkipReason) -> Self {
        Self {
            object,
            reason,
            message: reason.message().to_owned(),
        }
    }
}

impl PlannedStep {
    /// A step without targets.
    pub fn new(step: StepName) -> Self {
        Self {
            step,
            targets: Vec::new(),
            skipped: Vec::new(),
            sources: BTreeMap::new(),
            snapshot_classes: Vec::new(),
            replicas: None,
        }
    }

    /// The sources to hold, as namespace and name.
    pub fn held_sources(&self) -> impl Iterator<Item = (&SharedStr, &SharedStr)> {
        let sources = self.sources.iter();
        sources.flat_map(|(namespace, names)| names.iter().map(move |name| (namespace, name)))
    }

    /// Whether the step holds any source or class.
    pub fn holds(&self) -> bool {
        !self.sources.is_empty() || !self.snapshot_classes.is_empty()
    }
}

impl Plan {
    /// A plan of these steps; its hash does not depend on `now`.
    pub fn new(driver: SharedStr, steps: Vec<PlannedStep>, now: Timestamp) -> Self {
        let mut digest = Sha256::new();
        digest.update(&*driver);
        for step in &steps {
            digest.update(step.step.as_str());
            if let Some(replicas) = step.replicas {
                digest.update(replicas.to_string());
            }
            for (namespace, names) in &step.sources {
                digest.update(format!("hold {namespace}/{names:?}\n"));
            }
            for class in &step.snapshot_classes {
                digest.update(format!("hold class {class}\n"));
            }
            let is_watched = |target: &&Target| {
                step.step == StepName::VerifyProvisioning && target.action == Action::Await
            };
            for target in step.targets.iter().filter(|target| !is_watched(target)) {
                digest.update(format!("{:?} {:?}\n", target.action, target.object));
            }
        }
        let hash = short_hash(digest);
        Self {
            driver,
            made_at: now,
            steps,
            locks: Vec::new(),
            hash,
        }
    }

    /// Whether the plan deletes or restarts anything.
    pub fn acts(&self) -> bool {
        self.steps
            .iter()
            .any(|planned| planned.step.acts() && !planned.targets.is_empty())
    }

    /// The planned `step`, if it is part of the plan.
    pub fn step(&self, step: StepName) -> Option<&PlannedStep> {
        self.steps.iter().find(|planned| planned.step == step)
    }
}

/// The first 64 bits of a digest in hexadecimal: enough to distinguish all plans of a cluster.
pub fn short_hash(digest: Sha256) -> String {
    use std::fmt::Write as _;
    digest
        .finalize()
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
