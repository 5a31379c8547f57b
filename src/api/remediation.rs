//! `locksmith.dev/v1alpha1` Remediation: one run of one playbook.
//!
//! It serves as queue, lock, checkpoint, approval and audit log. The engine writes the status before and after every action, so
//! that any replica can resume the run.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ObjectKey, SharedStr};
use crate::{Plan, Skipped, StepName};

/// API group of the kinds and annotations of this project.
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
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress"}"#,
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
    /// CSI driver to repair.
    #[x_kube(validation = Rule::new("self == oldSelf").message("the driver of a run cannot change"))]
    #[schemars(length(max = 253))]
    pub driver: SharedStr,
    /// The alerts or the person that requested the run.
    #[serde(default)]
    pub trigger: Trigger,
    /// A person's decision on the plan in the status; set by `locksmith approve` and `locksmith reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Set to true to abort the run and release its holds; set by `locksmith abort`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
}

/// The alerts or the person that requested a run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Alerts without duplicates, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub alerts: Vec<AlertRef>,
    /// User name of the person who requested the run; absent if alerts did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub person: Option<String>,
}

/// An alert of Alertmanager.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRef {
    /// Label `alertname`, cut to 256 characters.
    #[schemars(length(max = 256))]
    pub alertname: String,
    /// Alertmanager's fingerprint of the labels, or a hash of them.
    #[schemars(length(max = 64))]
    pub fingerprint: String,
    /// Time the alert began to fire.
    #[schemars(with = "String")]
    pub starts_at: Timestamp,
    /// Time the alert was seen resolved or silenced while the run was Pending; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub resolved_at: Option<Timestamp>,
}

impl AlertRef {
    /// Whether both refer to the same firing of the same alert. Alertmanager's API cuts times to milliseconds.
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
    /// Hash of the plan that was decided on, as in `status.plan.hash`; a decision on any other plan is ignored.
    #[schemars(length(max = 64))]
    pub plan: String,
    /// Time of the decision; an approval without it is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// User name of the person who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub by: Option<String>,
}

/// Largest Remediation as JSON when evidence is added, in bytes without annotations: etcd accepts requests of 1.5 MiB
/// (`--max-request-bytes`), annotations may take 256 KiB, and the rest is for records after the evidence.
pub const RECORD_BYTES: usize = 1_250_000;

/// A decision.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Decision {
    /// Run the plan.
    Approved,
    /// End the run.
    Rejected,
}

/// Phase of a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// Not started: a gate is closed, or no daemon has picked it up yet.
    #[default]
    Pending,
    /// Planned in mode `plan`: the plan is in the status, and nothing was changed.
    Planned,
    /// Steps are running.
    Running,
    /// Every step is done, something was repaired, and the verification passed.
    Succeeded,
    /// Nothing was left to repair, or the playbook could repair nothing.
    NothingToDo,
    /// A step or the verification failed, or a gate stayed closed for too long; its holds are released.
    Failed,
    /// Aborted or rejected by a person, or not started because its alerts were resolved or silenced; its holds are released.
    Aborted,
    /// The plan was not approved in time; nothing was changed.
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

    /// Whether the run is over; only its holds may still be released.
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

/// Progress and results of the run, written by the daemon.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationStatus {
    /// Phase of the run.
    #[serde(default)]
    pub phase: Phase,
    /// Summary of the state, in one line.
    #[serde(default)]
    pub message: String,
    /// Current step; absent if no step is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// Progress of the current step, such as `12/40`; absent if no step is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Current attempt, counted from 1.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub attempt: u32,
    /// Leader term of the daemon that wrote this status last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<i32>,
    /// Time the first step started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// Time the run finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Steps of the run and the objects they act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Steps that were started or skipped, in order, earlier attempts first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// Latest result of each gate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateRecord>,
    /// Copies of objects, made before they were deleted or replaced; print them with `locksmith evidence`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceRecord>,
    /// Objects that are still held, at most a hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldRecord>,
    /// Number of ReplicationSources that are still held.
    #[serde(default)]
    #[schemars(with = "i32")]
    pub held: u32,
    /// Checks of the final verification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdict: Vec<CheckRecord>,
    /// Conditions `Complete` and `HoldsReleased`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl RemediationStatus {
    /// The current step and its progress.
    pub fn current_progress(&self) -> Option<(StepName, &StepProgress)> {
        let record = self.steps.last()?;
        Some((record.step, record.progress.as_ref()?))
    }

    /// Whether the only difference from `before` is the progress of a step, or that fewer sources are held and some still are.
    pub fn only_progresses_from(&self, before: &Self) -> bool {
        let Self {
            phase,
            message,
            step,
            progress: _,
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
        let holds_count_down =
            !holds.is_empty() && !before.holds.is_empty() && *held <= before.held;
        let same_steps = steps.len() == before.steps.len()
            && steps
                .iter()
                .zip(&before.steps)
                .all(|(step, before)| step.is_same_but_progress(before));
        (holds_count_down || (holds, held) == (&before.holds, &before.held))
            && same_steps
            && (phase, message, step, attempt)
                == (
                    &before.phase,
                    &before.message,
                    &before.step,
                    &before.attempt,
                )
            && (started_at, finished_at) == (&before.started_at, &before.finished_at)
            && (plan, gates) == (&before.plan, &before.gates)
            && (evidence, verdict) == (&before.evidence, &before.verdict)
    }
}

/// Phase of a step.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StepPhase {
    /// About to act, acting, or waiting for the effect; a restarted daemon observes before it acts.
    Started,
    /// The cluster shows the effect.
    Succeeded,
    /// The effect was not seen in time, or the step could not act.
    Failed,
    /// Not run, as an earlier step failed.
    Skipped,
}

/// Record of one step.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Name of the step.
    pub step: StepName,
    /// Attempt of the run that the step belongs to.
    #[schemars(with = "i32")]
    pub attempt: u32,
    /// Phase of the step.
    pub phase: StepPhase,
    /// Time the step started.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Time the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Time the step had made all its changes and began to wait for their effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub acted_at: Option<Timestamp>,
    /// Time every pod that restartProvisioner replaces had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub replaced_at: Option<Timestamp>,
    /// Result of the step, or the reason it failed, in one line.
    #[serde(default)]
    pub message: String,
    /// Targets that were skipped, each with a reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Progress of the step while it runs; written at most once a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<StepProgress>,
}

impl StepRecord {
    fn is_same_but_progress(&self, before: &Self) -> bool {
        let Self {
            step,
            attempt,
            phase,
            started_at,
            finished_at,
            acted_at,
            replaced_at,
            message,
            skipped,
            progress: _,
        } = self;
        (step, attempt, phase) == (&before.step, &before.attempt, &before.phase)
            && (started_at, finished_at) == (&before.started_at, &before.finished_at)
            && (acted_at, replaced_at) == (&before.acted_at, &before.replaced_at)
            && (message, skipped) == (&before.message, &before.skipped)
    }
}

/// Progress of a running step.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepProgress {
    /// Number of objects that are in the expected state, or skipped.
    #[schemars(with = "i32")]
    pub done: u32,
    /// Number of objects that the step changes or waits for.
    #[schemars(with = "i32")]
    pub total: u32,
    /// Next condition that the step waits for, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting_for: String,
    /// Time at which the step fails unless it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
}

/// Result of one gate.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRecord {
    /// Name of the gate.
    pub gate: String,
    /// Whether the gate is open; the run waits while one is closed.
    pub open: bool,
    /// Reason it is closed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Condition under which it opens.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opens_when: String,
}

/// Copy of an object, made before it was deleted or replaced.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceRecord {
    /// The object.
    pub object: ObjectKey,
    /// resourceVersion of the copy.
    pub resource_version: String,
    /// The object and related objects as JSON, without `managedFields`; print it with `locksmith evidence`. If it is too large,
    /// the status is left out, then the metadata, then the spec.
    pub content: String,
}

/// An object that is still held.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldRecord {
    /// The object.
    pub object: ObjectKey,
    /// Deadline, at which the API server ends the hold.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// Condition for its release before the deadline.
    pub waiting_for: String,
}

/// One check of the final verification.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CheckRecord {
    /// Name of the check.
    pub check: String,
    /// Whether the check passed.
    pub passed: bool,
    /// Observation behind the result.
    pub message: String,
}
