//! `deleteOrphanedSources`: records each source as evidence, deletes it, and waits until it is gone.

use std::collections::HashSet;

use super::{Intent, Progress, Step, count, some};
use crate::api::PlannedStep;
use crate::api::Skipped;
use crate::api::remediation::StepRecord;
use crate::api::{ObjectKey, Uid};
use crate::plan::why_source_kept;
use crate::run_context::RunContext;

pub(super) struct DeleteOrphanedSources;

impl Step for DeleteOrphanedSources {
    fn advance(&self, cx: &RunContext<'_>, record: &StepRecord, step: &PlannedStep) -> Progress {
        let within = cx.config.steps.delete_orphaned_sources.within;
        let (mut open, mut left, mut gone) = (Vec::new(), Vec::new(), 0);
        for target in &step.targets {
            let object = &target.object;
            let found = cx.model.sources.get(&object.namespace, &object.name);
            let Some(source) = found.filter(|source| source.meta.uid == object.uid) else {
                gone += 1;
                continue;
            };
            let claim = source.claim.as_ref();
            let back = claim
                .and_then(|claim| cx.model.claims.get(&source.meta.namespace, claim))
                .is_some_and(|claim| claim.meta.deleting.is_none());
            let why = if back {
                Some("its PersistentVolumeClaim exists again".to_owned())
            } else {
                why_source_kept(cx.model, source)
            };
            match why {
                Some(why) => left.push(Skipped {
                    object: object.clone(),
                    reason: why,
                }),
                None => open.push(object),
            }
        }
        if open.is_empty() {
            return Progress::Done(
                format!("{} deleted, {} skipped", count(gone, "source"), left.len()),
                left,
            );
        }
        if cx.overdue(record, within) {
            let names = some(open.into_iter());
            return Progress::Failed(format!("failed to delete {names} within {within}"));
        }
        let kept: HashSet<&Uid> = cx
            .status()
            .evidence
            .iter()
            .map(|kept| &kept.object.uid)
            .collect();
        let unkept: Vec<ObjectKey> = open
            .iter()
            .filter(|object| !kept.contains(&object.uid))
            .map(|object| (*object).clone())
            .collect();
        if !unkept.is_empty() {
            return Progress::CollectEvidence(unkept);
        }
        Progress::Act(
            open.into_iter()
                .map(|object| Intent::Delete(object.clone()))
                .collect(),
        )
    }
}
