//! `deleteOrphanedSources`: records each source as evidence, deletes it, and waits until it is gone.

use std::collections::HashSet;

use super::{Intent, Step, StepDecision, count, counted, some};
use crate::api::PlannedStep;
use crate::api::remediation::{StepProgress, StepRecord};
use crate::api::{ObjectKey, Uid};
use crate::api::{SkipReason, Skipped};
use crate::plan::source_skip_reason;
use crate::run_context::RunContext;

pub(super) struct DeleteOrphanedSources;

impl Step for DeleteOrphanedSources {
    fn advance(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepDecision {
        let within = cx.config.steps.delete_orphaned_sources.within;
        let Orphans { open, left, gone } = Orphans::of(cx, step);
        if open.is_empty() {
            return StepDecision::Done(
                format!("{} deleted, {} skipped", count(gone, "source"), left.len()),
                left,
            );
        }
        if cx.overdue(record, within) {
            let names = some(open.into_iter());
            return StepDecision::Failed(format!("failed to delete {names} within {within}"));
        }
        let recorded: HashSet<&Uid> = cx
            .status()
            .evidence
            .iter()
            .map(|evidence| &evidence.object.uid)
            .collect();
        let unrecorded: Vec<ObjectKey> = open
            .iter()
            .filter(|object| !recorded.contains(&object.uid))
            .map(|object| (*object).clone())
            .collect();
        if !unrecorded.is_empty() {
            return StepDecision::CollectEvidence(unrecorded);
        }
        StepDecision::Act(
            open.into_iter()
                .map(|object| Intent::Delete(object.clone()))
                .collect(),
        )
    }

    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress {
        let Orphans { open, .. } = Orphans::of(cx, step);
        let within = cx.config.steps.delete_orphaned_sources.within;
        let (total, waiting) = (step.targets.len(), open.len());
        let waiting_for = format!("{} to be deleted", some(open.into_iter()));
        counted(record, within, total - waiting, total, waiting_for)
    }
}

/// The sources of the plan by their state.
struct Orphans<'a> {
    open: Vec<&'a ObjectKey>,
    left: Vec<Skipped>,
    gone: usize,
}

impl<'a> Orphans<'a> {
    fn of(cx: &RunContext<'_>, step: &'a PlannedStep) -> Self {
        let mut orphans = Self {
            open: Vec::new(),
            left: Vec::new(),
            gone: 0,
        };
        for target in &step.targets {
            let object = &target.object;
            let found = cx.model.sources.get(&object.namespace, &object.name);
            let Some(source) = found.filter(|source| source.meta.uid == object.uid) else {
                orphans.gone += 1;
                continue;
            };
            let claim = source.claim.as_ref();
            let back = claim
                .and_then(|claim| cx.model.claims.get(&source.meta.namespace, claim))
                .is_some_and(|claim| claim.meta.deleting.is_none());
            let why = if back {
                Some(SkipReason::ClaimBack)
            } else {
                source_skip_reason(cx.model, source)
            };
            match why {
                Some(reason) => orphans.left.push(Skipped::new(object.clone(), reason)),
                None => orphans.open.push(object),
            }
        }
        orphans
    }
}
