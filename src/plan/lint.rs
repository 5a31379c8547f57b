//! Checks a plan against rules that no plan may break. Pure.
//!
//! The planner should never make such plans. The check does not depend on it, and the engine refuses a plan with any
//! note.

use std::collections::{BTreeMap, HashSet};

use crate::api::OPT_OUT_LABEL;
use crate::api::remediation::RECORD_BYTES;
use crate::api::{Action, Plan, PlannedStep, StepName};
use crate::api::{ObjectKind, SharedStr};

/// Bytes that the evidence of one object takes at least.
const LEAST_EVIDENCE: usize = 1_000;

/// Bytes that the evidence of a ReplicationSource takes, which somebody may want to create again.
const SOURCE_EVIDENCE: usize = 3_000;

/// Bytes that the record of a target that was skipped takes, the object aside.
const SKIPPED: usize = 200;

/// Every rule that `plan` breaks, as text.
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    for (at, planned) in plan.steps.iter().enumerate() {
        let step = planned.step.as_str();
        if plan.steps[..at]
            .iter()
            .any(|earlier| earlier.step == planned.step)
        {
            notes.push(format!("{step} is listed twice"));
        }
        let mut seen = HashSet::new();
        for target in &planned.targets {
            let object = &target.object;
            if object.uid.is_empty() || object.name.is_empty() {
                notes.push(format!("{step}: {object} is not pinned by name and uid"));
            }
            if !seen.insert((&object.kind, &object.uid)) {
                notes.push(format!("{step}: {object} is listed twice"));
            }
            if !may(planned.step, object.kind, target.action) {
                notes.push(format!(
                    "{step}: must not {:?} a {}",
                    target.action,
                    object.kind.as_str()
                ));
            }
        }
        if planned.holds() && planned.step != StepName::SuspendSources {
            notes.push(format!("{step}: must not hold anything"));
        }
        let mut places = HashSet::new();
        for (namespace, name) in planned.held_sources() {
            if namespace.is_empty() || name.is_empty() || !places.insert((namespace, name)) {
                notes.push(format!(
                    "{step}: {namespace}/{name} is listed twice or has no name"
                ));
            }
        }
        for skipped in &planned.skipped {
            let targeted = planned
                .targets
                .iter()
                .any(|target| target.object == skipped.object);
            if targeted {
                notes.push(format!(
                    "{step}: {} is both skipped and a target",
                    skipped.object
                ));
            }
        }
    }
    let sources = || plan.steps.iter().flat_map(PlannedStep::held_sources);
    let (bytes, deletions) = size(plan);
    if bytes > RECORD_BYTES {
        let targets: usize = plan.steps.iter().map(|step| step.targets.len()).sum();
        let (sources, fix) = (sources().count(), smaller(plan));
        notes.push(format!(
            "{sources} sources to hold and {targets} targets, {deletions} of them deletions, take {bytes} bytes, but a Remediation \
             can record only {RECORD_BYTES}{fix}"
        ));
    }
    let bytes = hold_size(plan);
    if bytes > RECORD_BYTES {
        let (sources, fix) = (sources().count(), smaller(plan));
        notes.push(format!(
            "{sources} sources take {bytes} bytes, but a SnapshotHold can list only {RECORD_BYTES}{fix}"
        ));
    }
    let position = |step| plan.steps.iter().position(|planned| planned.step == step);
    let suspend = position(StepName::SuspendSources);
    let resume = position(StepName::ResumeSources);
    if suspend.is_some_and(|suspend| resume.is_none_or(|resume| resume < suspend)) {
        notes.push("suspendSources is not followed by resumeSources".to_owned());
    }
    notes
}

/// How to make a plan smaller: the namespace with the most in it, and how to leave it out.
fn smaller(plan: &Plan) -> String {
    let mut counts: BTreeMap<&SharedStr, usize> = BTreeMap::new();
    for step in &plan.steps {
        for (namespace, names) in &step.sources {
            *counts.entry(namespace).or_default() += names.len();
        }
        for target in &step.targets {
            *counts.entry(&target.object.namespace).or_default() += 1;
        }
    }
    counts.remove(&SharedStr::default());
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(String::new, |(namespace, count)| {
        format!(": to exclude namespace {namespace}, which has {count} of them, set the label {OPT_OUT_LABEL} on it")
    })
}

/// Bytes that a source takes in a SnapshotHold beside its names: its uid and what JSON puts around them.
const UID_BYTES: usize = 36 + 8;

/// Bytes of the sources in the SnapshotHold of a plan.
fn hold_size(plan: &Plan) -> usize {
    let sources = plan.steps.iter().flat_map(PlannedStep::held_sources);
    sources
        .map(|(namespace, name)| namespace.len() + name.len() + UID_BYTES)
        .sum()
}

/// Bytes of the plan and of all that is recorded beside it while it is run, and the number of its deletions: of each, the
/// evidence is kept, and it may be listed again as skipped.
fn size(plan: &Plan) -> (usize, usize) {
    let targets = plan.steps.iter().flat_map(|step| &step.targets);
    let deletions =
        targets.filter(|target| matches!(target.action, Action::Delete | Action::Replace));
    let beside = deletions.map(|target| {
        let evidence = match target.object.kind {
            ObjectKind::ReplicationSource => SOURCE_EVIDENCE,
            _ => LEAST_EVIDENCE,
        };
        bytes(&target.object) + SKIPPED + evidence
    });
    let (count, beside) = beside.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    (bytes(plan) + beside, count)
}

/// Bytes of `value` as JSON. What cannot be written cannot be recorded either.
fn bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 4, |json| json.len())
}

/// What each step may do to which kind: all there is.
fn may(step: StepName, kind: ObjectKind, action: Action) -> bool {
    match (step, action) {
        (StepName::DeleteFailedSnapshots, Action::Delete) => kind == ObjectKind::VolumeSnapshot,
        (StepName::DeleteOrphanedSources, Action::Delete) => kind == ObjectKind::ReplicationSource,
        (StepName::RestartProvisioner, Action::Rollout) => kind == ObjectKind::Deployment,
        (StepName::RestartProvisioner, Action::Replace) => kind == ObjectKind::Pod,
        (StepName::RestartProvisioner, Action::HandOver) => kind == ObjectKind::Lease,
        (StepName::RestartProvisioner, Action::Await) => {
            matches!(
                kind,
                ObjectKind::Pod
                    | ObjectKind::Deployment
                    | ObjectKind::StatefulSet
                    | ObjectKind::DaemonSet
            )
        }
        (StepName::VerifyProvisioning, Action::Await) => kind == ObjectKind::PersistentVolumeClaim,
        (StepName::VerifyProvisioning, Action::Touch) => kind == ObjectKind::VolumeSnapshotContent,
        _ => false,
    }
}
