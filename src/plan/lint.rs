//! Checks a plan against rules that no plan may break. Pure.
//!
//! The planner should never make such plans. The check does not depend on it, and the engine refuses a plan with any
//! note.

use std::collections::{BTreeMap, HashSet};

use crate::api::OPT_OUT_LABEL;
use crate::api::remediation::RECORD_BYTES;
use crate::api::{Action, Plan, PlannedStep, StepName};
use crate::api::{ObjectKey, ObjectKind, SharedStr};

/// Bytes that the evidence of one object takes at least.
const LEAST_EVIDENCE: usize = 1_000;

/// Bytes that the evidence of a ReplicationSource takes, which somebody may want to create again.
const SOURCE_EVIDENCE: usize = 3_000;

/// Size of a skipped target's record, without the object.
const SKIPPED_BYTES: usize = 200;

/// A rule that a plan breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LintNote {
    /// A step is planned twice.
    #[error("{} is listed twice", .0.as_str())]
    StepTwice(StepName),
    /// A target has no name or no uid.
    #[error("{}: {object} is not pinned by name and uid", step.as_str())]
    NotPinned {
        /// The step.
        step: StepName,
        /// The target.
        object: ObjectKey,
    },
    /// A step has a target twice.
    #[error("{}: {object} is listed twice", step.as_str())]
    TargetTwice {
        /// The step.
        step: StepName,
        /// The target.
        object: ObjectKey,
    },
    /// A step does to a kind what it may not.
    #[error("{}: must not {action:?} a {}", step.as_str(), kind.as_str())]
    NotAllowed {
        /// The step.
        step: StepName,
        /// The action.
        action: Action,
        /// Kind of its object.
        kind: ObjectKind,
    },
    /// A step other than suspendSources holds sources or classes.
    #[error("{}: must not hold anything", .0.as_str())]
    MustNotHold(StepName),
    /// A source is held twice, or has no name.
    #[error("{}: {namespace}/{name} is listed twice or has no name", step.as_str())]
    SourceTwice {
        /// The step.
        step: StepName,
        /// Namespace of the source.
        namespace: SharedStr,
        /// Its name.
        name: SharedStr,
    },
    /// An object is both skipped and a target.
    #[error("{}: {object} is both skipped and a target", step.as_str())]
    SkippedTarget {
        /// The step.
        step: StepName,
        /// The object.
        object: ObjectKey,
    },
    /// The plan, with all that is recorded while it runs, does not fit into a Remediation.
    #[error(
        "{sources} sources to hold and {targets} targets, {deletions} of them deletions, take {bytes} bytes, but a Remediation \
         can record only {RECORD_BYTES}{}",
        fix(.largest.as_ref())
    )]
    RecordTooLarge {
        /// Number of sources to hold.
        sources: usize,
        /// Number of targets.
        targets: usize,
        /// Number of targets that are deleted.
        deletions: usize,
        /// Size of the record in bytes.
        bytes: usize,
        /// The namespace with the most in it, and how much that is.
        largest: Option<(SharedStr, usize)>,
    },
    /// The sources do not fit into a SnapshotHold.
    #[error(
        "{sources} sources take {bytes} bytes, but a SnapshotHold can list only {RECORD_BYTES}{}",
        fix(.largest.as_ref())
    )]
    HoldTooLarge {
        /// Number of sources to hold.
        sources: usize,
        /// Their size in bytes.
        bytes: usize,
        /// The namespace with the most in it, and how much that is.
        largest: Option<(SharedStr, usize)>,
    },
    /// Sources are held and not released.
    #[error("suspendSources is not followed by resumeSources")]
    NotResumed,
}

/// How to make a plan smaller: leave out its largest namespace.
fn fix(largest: Option<&(SharedStr, usize)>) -> String {
    largest.map_or_else(String::new, |(namespace, count)| {
        format!(": to exclude namespace {namespace}, which has {count} of them, set the label {OPT_OUT_LABEL} on it")
    })
}

/// Every rule that `plan` breaks.
pub fn lint(plan: &Plan) -> Vec<LintNote> {
    let mut notes = Vec::new();
    for (at, planned) in plan.steps.iter().enumerate() {
        let earlier = &plan.steps[..at];
        if earlier.iter().any(|earlier| earlier.step == planned.step) {
            notes.push(LintNote::StepTwice(planned.step));
        }
        lint_step(planned, &mut notes);
    }
    let sources = plan.steps.iter().flat_map(PlannedStep::held_sources);
    let sources = sources.count();
    let (bytes, deletions) = size(plan);
    if bytes > RECORD_BYTES {
        notes.push(LintNote::RecordTooLarge {
            sources,
            targets: plan.steps.iter().map(|step| step.targets.len()).sum(),
            deletions,
            bytes,
            largest: largest_namespace(plan),
        });
    }
    let bytes = hold_size(plan);
    if bytes > RECORD_BYTES {
        notes.push(LintNote::HoldTooLarge {
            sources,
            bytes,
            largest: largest_namespace(plan),
        });
    }
    let position = |step| plan.steps.iter().position(|planned| planned.step == step);
    let suspend = position(StepName::SuspendSources);
    let resume = position(StepName::ResumeSources);
    if suspend.is_some_and(|suspend| resume.is_none_or(|resume| resume < suspend)) {
        notes.push(LintNote::NotResumed);
    }
    notes
}

/// The rules that one step breaks.
fn lint_step(planned: &PlannedStep, notes: &mut Vec<LintNote>) {
    let step = planned.step;
    let mut seen = HashSet::new();
    for target in &planned.targets {
        let object = &target.object;
        if object.uid.is_empty() || object.name.is_empty() {
            let object = object.clone();
            notes.push(LintNote::NotPinned { step, object });
        }
        if !seen.insert((&object.kind, &object.uid)) {
            let object = object.clone();
            notes.push(LintNote::TargetTwice { step, object });
        }
        if !may(step, object.kind, target.action) {
            notes.push(LintNote::NotAllowed {
                step,
                action: target.action,
                kind: object.kind,
            });
        }
    }
    if planned.holds() && step != StepName::SuspendSources {
        notes.push(LintNote::MustNotHold(step));
    }
    let mut places = HashSet::new();
    for (namespace, name) in planned.held_sources() {
        if namespace.is_empty() || name.is_empty() || !places.insert((namespace, name)) {
            notes.push(LintNote::SourceTwice {
                step,
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
    }
    for skipped in &planned.skipped {
        let object = &skipped.object;
        if planned
            .targets
            .iter()
            .any(|target| target.object == *object)
        {
            let object = object.clone();
            notes.push(LintNote::SkippedTarget { step, object });
        }
    }
}

/// The namespace with the most sources and targets of a plan in it.
fn largest_namespace(plan: &Plan) -> Option<(SharedStr, usize)> {
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
    let largest = counts.into_iter().max_by_key(|(_, count)| *count);
    largest.map(|(namespace, count)| (namespace.clone(), count))
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
        bytes(&target.object) + SKIPPED_BYTES + evidence
    });
    let (count, beside) = beside.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
    (bytes(plan) + beside, count)
}

/// Bytes of `value` as JSON. A value that cannot be serialised counts as too large.
fn bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 4, |json| json.len())
}

/// Whether `step` may perform `action` on `kind`; everything not listed is refused.
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
