//! A plan, as the status of a Remediation holds it: steps, and every object they act on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{LockKey, ObjectKey, SharedStr};

/// The steps a playbook is made of.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase")]
pub enum StepName {
    /// Hold the sources that load the driver.
    SuspendSources,
    /// Give the driver new provisioner pods.
    RestartProvisioner,
    /// Ask for the deletion of the snapshots that are still failed.
    DeleteFailedSnapshots,
    /// See the claims that were Pending become Bound.
    VerifyProvisioning,
    /// Release what was held.
    ResumeSources,
    /// Delete sources that back up what is not there.
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
}

/// The steps that change anything but holds.
pub const ACTING: [StepName; 3] = [
    StepName::RestartProvisioner,
    StepName::DeleteFailedSnapshots,
    StepName::DeleteOrphanedSources,
];

/// What one run does, in order.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// CSI driver it is about.
    pub driver: SharedStr,
    /// When it was made.
    #[schemars(with = "String")]
    pub made_at: Timestamp,
    /// The steps.
    pub steps: Vec<PlannedStep>,
    /// Keys of the locks that were found for the driver, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockKey>,
    /// Names the steps and everything they act on: an approval is of this and no other. Claims that are only watched are
    /// no part of it, as they come and go all the time.
    pub hash: String,
}

/// One step and what it is to touch.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Step.
    pub step: StepName,
    /// What it acts on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Candidates that it skips; at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// The ReplicationSources to hold: names by namespace, sorted. Compact, as a run may hold ten thousand; a hold destroys
    /// nothing, so that a source of the same name made meanwhile may be held as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<SharedStr, Vec<SharedStr>>,
    /// VolumeSnapshotClasses to hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshot_classes: Vec<SharedStr>,
    /// How many pods the Deployment among the targets asks for: another number is somebody's who scales it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

/// One object a step acts on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The object.
    pub object: ObjectKey,
    /// What is done to it.
    pub action: Action,
}

/// What is done to an object. Written as one word, which is all a structural schema can check.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// It is deleted.
    Delete,
    /// Its pod template is annotated, so that it rolls out new pods.
    Rollout,
    /// It is deleted so that its controller replaces it: an operator would revert a rollout.
    Replace,
    /// It is annotated if its deletion does not end, so that its sidecar looks at it again.
    Touch,
    /// Its dead holder is removed, so that the next one need not wait until it expires.
    HandOver,
    /// It is only watched.
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
        found.ok_or_else(|| format!("{text:?} is no action of a plan"))
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

/// An object that is not acted on.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Skipped {
    /// The object.
    pub object: ObjectKey,
    /// The reason, for people.
    pub reason: String,
}

impl PlannedStep {
    /// A step that acts on nothing yet.
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

    /// Whether there is something to hold.
    pub fn holds(&self) -> bool {
        !self.sources.is_empty() || !self.snapshot_classes.is_empty()
    }
}

impl Plan {
    /// A plan of these steps; its hash does not depend on when it is made.
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

    /// Whether it deletes or restarts anything.
    pub fn acts(&self) -> bool {
        ACTING
            .iter()
            .filter_map(|step| self.step(*step))
            .any(|step| !step.targets.is_empty())
    }

    /// What is planned for `step`.
    pub fn step(&self, step: StepName) -> Option<&PlannedStep> {
        self.steps.iter().find(|planned| planned.step == step)
    }
}

/// The first 64 bits of a digest, in hexadecimal: enough to tell apart what one cluster ever plans.
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
