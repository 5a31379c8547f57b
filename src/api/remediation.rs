//! `locksmith.dev/v1alpha1` Remediation: one run of one playbook.
//!
//! It is the queue, the lock, the checkpoint, the approval desk and the audit log. The status is written by
//! the engine before and after everything it does, so that any process can take over from it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ObjectKey, SharedStr};
use crate::{Plan, Skipped, StepName};

/// API group of this project's kind and annotations.
pub const GROUP: &str = "locksmith.dev";

/// A request to run one playbook once.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "locksmith.dev",
    version = "v1alpha1",
    kind = "Remediation",
    plural = "remediations",
    shortname = "rem",
    category = "locksmith",
    namespaced,
    status = "RemediationStatus",
    derive = "PartialEq",
    doc = "A request to run one playbook once, and the record of that run.",
    printcolumn = r#"{"name":"Playbook","type":"string","jsonPath":".spec.playbook"}"#,
    printcolumn = r#"{"name":"Driver","type":"string","jsonPath":".spec.driver"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.step"}"#,
    printcolumn = r#"{"name":"Held","type":"integer","jsonPath":".status.held"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RemediationSpec {
    /// Name of the playbook, as in the configuration.
    #[x_kube(validation = Rule::new("self == oldSelf").message("the playbook of a run cannot change"))]
    #[schemars(length(max = 253))]
    pub playbook: String,
    /// CSI driver it is about.
    #[x_kube(validation = Rule::new("self == oldSelf").message("the driver of a run cannot change"))]
    #[schemars(length(max = 253))]
    pub driver: SharedStr,
    /// What asked for it.
    #[serde(default)]
    pub trigger: Trigger,
    /// A person's decision on the plan in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Set by a person to end the run: what it holds is released, nothing else is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
}

/// What asked for a run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Alerts, each once, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub alerts: Vec<AlertRef>,
    /// The person, when no alert asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub person: Option<String>,
}

/// One alert of Alertmanager.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRef {
    /// Label `alertname`; of a very long one the beginning.
    #[schemars(length(max = 256))]
    pub alertname: String,
    /// Alertmanager's fingerprint of the labels, or a hash of them.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// When it began to fire.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
    /// When it was seen resolved or silenced while the run was Pending; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub resolved_at: Option<Timestamp>,
}

impl AlertRef {
    /// Whether both are of one alert that began to fire once. Alertmanager's API cuts times to milliseconds.
    pub fn is_same(&self, other: &Self) -> bool {
        let millisecond = |alert: &Self| alert.starts_at.as_millisecond();
        self.fingerprint == other.fingerprint && millisecond(self) == millisecond(other)
    }
}

/// A person's decision on a plan.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Approved or rejected.
    pub decision: Decision,
    /// Hash of the plan decided on; a decision on another plan counts for nothing.
    #[schemars(length(max = 64))]
    pub plan: String,
    /// When; without it, an approval counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub by: Option<String>,
}

/// Most bytes of a Remediation as JSON when evidence is added, annotations not counted: etcd takes requests of 1.5 MiB
/// (`--max-request-bytes`), annotations may have 256 KiB, and something is left for what is recorded after the evidence.
pub const RECORD_BYTES: usize = 1_250_000;

/// The two ways to decide.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Decision {
    /// Go on.
    Approved,
    /// End the run.
    Rejected,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Not begun: gates are closed, or nobody has looked yet.
    #[default]
    Pending,
    /// Planned in mode `plan`: what would have been done is in the status, and nothing was.
    Planned,
    /// Steps are being run.
    Running,
    /// Something the run was for was repaired, every step done and the cluster verified.
    Succeeded,
    /// Nothing the run was for could be repaired by it, or nothing was left to repair.
    NothingToDo,
    /// Given up; what it held is released.
    Failed,
    /// Ended by a person, or before it began because its alerts were resolved or silenced; what it held is released.
    Aborted,
    /// Nobody approved of its plan in time; it did nothing.
    Expired,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Planned,
        Self::Running,
        Self::Succeeded,
        Self::NothingToDo,
        Self::Failed,
        Self::Aborted,
        Self::Expired,
    ];

    /// The phase as the status spells it; a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Planned => "Planned",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::NothingToDo => "NothingToDo",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
            Self::Expired => "Expired",
        }
    }

    /// Whether nothing more will be done but to release holds.
    pub fn finished(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Planned
            | Self::Succeeded
            | Self::NothingToDo
            | Self::Failed
            | Self::Aborted
            | Self::Expired => true,
        }
    }
}

/// The engine's record.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationStatus {
    /// How far it has come.
    #[serde(default)]
    pub phase: Phase,
    /// One line for people.
    #[serde(default)]
    pub message: String,
    /// The step under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// Which time round; 1 the first.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub attempt: u32,
    /// Term of the leader that wrote this last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i32>,
    /// When the first step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When the last step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// What is to be done, and to what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What was done, step by step; earlier attempts first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// What each gate last said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateRecord>,
    /// Objects as they were before they were deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceRecord>,
    /// What the run still holds back, each with its deadline; of very many the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldRecord>,
    /// Number of ReplicationSources still held.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub held: u32,
    /// The playbook's own verification, at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<CheckRecord>,
    /// `Complete` and `HoldsReleased`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl RemediationStatus {
    /// Whether it differs from `before` at most by less being held, and something still is.
    pub fn only_counts_down_from(&self, before: &Self) -> bool {
        let Self {
            phase,
            message,
            step,
            attempt,
            term: _,
            started_at,
            finished_at,
            plan,
            steps,
            gates,
            evidence,
            holds,
            held,
            verdict,
            conditions: _,
        } = self;
        !holds.is_empty()
            && !before.holds.is_empty()
            && *held <= before.held
            && (phase, message, step, attempt)
                == (
                    &before.phase,
                    &before.message,
                    &before.step,
                    &before.attempt,
                )
            && (started_at, finished_at) == (&before.started_at, &before.finished_at)
            && (plan, steps, gates) == (&before.plan, &before.steps, &before.gates)
            && (evidence, verdict) == (&before.evidence, &before.verdict)
    }
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StepPhase {
    /// About to act, or acting, or waiting for the effect: after a restart, observe first.
    Started,
    /// The cluster shows the effect.
    Succeeded,
    /// Given up.
    Failed,
    /// Not run, because an earlier step failed.
    Skipped,
}

/// One step, as run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Step.
    pub step: StepName,
    /// Which time round.
    #[schemars(with = "i32")]
    pub attempt: u32,
    /// How far it has come.
    pub phase: StepPhase,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// When everything the step does had been done, and waiting for the effect began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub acted_at: Option<Timestamp>,
    /// When every pod that restartProvisioner replaces was seen to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub replaced_at: Option<Timestamp>,
    /// One line for people: what was done, or why not.
    #[serde(default)]
    pub message: String,
    /// Targets that were skipped, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

/// The answer of one gate.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRecord {
    /// Gate.
    pub gate: String,
    /// Whether it lets the run go on.
    pub open: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The condition that opens it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opens_when: String,
}

/// An object as it was before it was deleted or replaced.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceRecord {
    /// The object.
    pub object: ObjectKey,
    /// Its resourceVersion when this was read.
    pub resource_version: String,
    /// The object as the API server gave it, without `managedFields`, and what belongs to it, as JSON; `locksmith evidence`
    /// prints it. What is too large is cut: status first, then metadata, then spec.
    pub content: String,
}

/// Something still held back.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldRecord {
    /// The object.
    pub object: ObjectKey,
    /// When it is released in any case.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// The condition it waits for.
    pub waiting_for: String,
}

/// One check of the final verification.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CheckRecord {
    /// What was checked.
    pub check: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub message: String,
}
