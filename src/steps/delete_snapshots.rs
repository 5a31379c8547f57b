//! `deleteFailedSnapshots`: records each snapshot that is still failed as evidence, deletes it, and waits until it is gone or
//! terminating.
//!
//! After a restart most snapshots become ready by themselves; the others are deleted after a settle time.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{Intent, Step, StepDecision, count, counted, some};
use crate::api::PlannedStep;
use crate::api::StepName;
use crate::api::remediation::{StepProgress, StepRecord};
use crate::api::{ObjectKey, SharedStr, Uid};
use crate::api::{SkipReason, Skipped};
use crate::findings::snapshot_source;
use crate::holds;
use crate::model::records::Snapshot;
use crate::plan::snapshot_skip_reason;
use crate::run_context::RunContext;

pub(super) struct DeleteFailedSnapshots;

impl Step for DeleteFailedSnapshots {
    fn advance(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepDecision {
        let settings = &cx.config.steps.delete_failed_snapshots;
        let Snapshots { open, left, going } = Snapshots::of(cx, step);
        if open.is_empty() {
            return check_not_recreated(cx, record, step, going, left);
        }
        if let Some(settled) = cx.settled(record).filter(|settled| cx.now < *settled) {
            return StepDecision::Wait(Some(settled));
        }
        if cx.overdue(record, settings.within) {
            let names = some(open.iter().map(|(object, _)| *object));
            return StepDecision::Failed(format!(
                "failed to delete {names} within {}",
                settings.within
            ));
        }
        let recorded: HashSet<&Uid> = cx
            .status()
            .evidence
            .iter()
            .map(|evidence| &evidence.object.uid)
            .collect();
        let unrecorded: Vec<ObjectKey> = open
            .iter()
            .filter(|(o, _)| !recorded.contains(&o.uid))
            .map(|(o, _)| (*o).clone())
            .collect();
        if !unrecorded.is_empty() {
            return StepDecision::CollectEvidence(unrecorded);
        }
        // One at a time of each claim: snapshots of one claim deleted at once can leave its finalizer behind
        // (external-snapshotter #764).
        let mut claims = HashSet::new();
        let turn = open
            .into_iter()
            .filter(|(object, claim)| claims.insert((object.namespace.clone(), claim.clone())))
            .map(|(object, _)| Intent::Delete(object.clone()));
        StepDecision::Act(turn.collect())
    }

    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress {
        let open = Snapshots::of(cx, step).open;
        let within = cx.config.steps.delete_failed_snapshots.within;
        let (total, waiting) = (step.targets.len(), open.len());
        let waiting_for = if waiting == 0 {
            "proof that no snapshot was recreated".to_owned()
        } else {
            format!(
                "{} to be deleted",
                some(open.iter().map(|(object, _)| *object))
            )
        };
        counted(record, within, total - waiting, total, waiting_for)
    }
}

/// The snapshots of the plan by their state.
struct Snapshots<'a> {
    /// Still failed, each with its claim.
    open: Vec<(&'a ObjectKey, Option<SharedStr>)>,
    left: Vec<Skipped>,
    /// Gone or being deleted.
    going: usize,
}

impl<'a> Snapshots<'a> {
    fn of(cx: &RunContext<'_>, step: &'a PlannedStep) -> Self {
        let scope = cx.config.steps.delete_failed_snapshots.scope;
        let mut snapshots = Self {
            open: Vec::new(),
            left: Vec::new(),
            going: 0,
        };
        for target in &step.targets {
            let object = &target.object;
            let found = cx.model.snapshots.get(&object.namespace, &object.name);
            // Another uid means that ours is gone; `check_not_recreated` handles the new one.
            match found.filter(|snapshot| {
                snapshot.meta.uid == object.uid && snapshot.meta.deleting.is_none()
            }) {
                None => snapshots.going += 1,
                Some(snapshot) => {
                    let reason = snapshot_skip_reason(cx.model, snapshot, scope);
                    match reason.or_else(|| released_source_reason(cx, snapshot)) {
                        Some(reason) => {
                            snapshots.left.push(Skipped::new(object.clone(), reason));
                        }
                        None => snapshots.open.push((object, snapshot.source_claim.clone())),
                    }
                }
            }
        }
        snapshots
    }
}

/// Returns why a snapshot is not deleted: somebody released its source during the run, so the source is theirs.
fn released_source_reason(cx: &RunContext<'_>, snapshot: &Snapshot) -> Option<SkipReason> {
    let suspend = cx.plan?.step(StepName::SuspendSources)?;
    let source = snapshot_source(cx.model, snapshot)?;
    let meta = &source.meta;
    let names = suspend.sources.get(&meta.namespace);
    let planned = names.is_some_and(|names| names.contains(&meta.name));
    let ours = holds::of_run(cx.model, &cx.id, cx.now);
    let held = ours.is_some_and(|hold| hold.sources.contains_key(&meta.uid));
    (planned && !held).then_some(SkipReason::SourceReleased)
}

/// Fails the step if a deleted snapshot exists again under its name: its source is not held.
fn check_not_recreated(
    cx: &RunContext<'_>,
    record: &StepRecord,
    step: &PlannedStep,
    going: usize,
    left: Vec<Skipped>,
) -> StepDecision {
    let Some(acted_at) = record.acted_at else {
        return StepDecision::Note(StepRecord {
            acted_at: Some(cx.now),
            ..record.clone()
        });
    };
    let within = cx.config.steps.delete_failed_snapshots.within;
    let live = match cx.snapshots_since(acted_at, within) {
        ControlFlow::Continue(live) => live,
        ControlFlow::Break(progress) => return progress,
    };
    // Only deleted snapshots have evidence. VolSync may delete and recreate one that became ready.
    let is_recorded = |object: &&ObjectKey| {
        let mut evidence = cx.status().evidence.iter();
        evidence.any(|evidence| evidence.object.uid == object.uid)
    };
    let again: Vec<_> = step
        .targets
        .iter()
        .map(|target| &target.object)
        .filter(is_recorded)
        .filter(|object| {
            live.iter().any(|snapshot| {
                (&snapshot.meta.namespace, &snapshot.meta.name) == (&object.namespace, &object.name)
                    && snapshot.meta.uid != object.uid
            })
        })
        .collect();
    if !again.is_empty() {
        let names = some(again.into_iter());
        return StepDecision::Failed(format!("{names} was recreated as soon as it was deleted"));
    }
    let ready = left
        .iter()
        .filter(|left| left.reason == SkipReason::Ready)
        .count();
    let message = format!(
        "{} deleted, {ready} became ready, {} skipped",
        count(going, "snapshot"),
        left.len() - ready
    );
    StepDecision::Done(message, left)
}
