//! `deleteOrphanedSources`: records each source as evidence, deletes it, and waits until it is gone.

use std::collections::HashSet;

use super::{Intent, Progress, Scene, Step, count, some};
use crate::api::Skipped;
use crate::api::{ObjectKey, Uid};
use crate::plan::why_source_kept;

pub(super) struct DeleteOrphanedSources;

impl Step for DeleteOrphanedSources {
    fn advance(&self, scene: &Scene<'_>) -> Progress {
        let within = scene.config.steps.delete_orphaned_sources.within;
        let (mut open, mut left, mut gone) = (Vec::new(), Vec::new(), 0);
        for target in &scene.planned.targets {
            let object = &target.object;
            let found = scene.model.sources.get(&object.namespace, &object.name);
            let Some(source) = found.filter(|source| source.meta.uid == object.uid) else {
                gone += 1;
                continue;
            };
            let claim = source.claim.as_ref();
            let back = claim
                .and_then(|claim| scene.model.claims.get(&source.meta.namespace, claim))
                .is_some_and(|claim| claim.meta.deleting.is_none());
            let why = if back {
                Some("its PersistentVolumeClaim exists again".to_owned())
            } else {
                why_source_kept(scene.model, source)
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
        if scene.overdue(within) {
            let names = some(open.into_iter());
            return Progress::Failed(format!("failed to delete {names} within {within}"));
        }
        let kept: HashSet<&Uid> = scene
            .status
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
