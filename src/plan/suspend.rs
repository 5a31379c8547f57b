//! Which sources are held.

use std::collections::BTreeMap;

use crate::api::{ObjectKind, SharedStr};
use crate::api::{PlannedStep, SkipReason, Skipped, StepName};
use crate::config::HoldScope;
use crate::model::Model;
use crate::model::records::{Mover, Source};

/// A hold on every source that loads `driver`, or might; with `scope` classes, on the driver's VolumeSnapshotClasses, too.
pub fn plan(model: &Model, driver: &SharedStr, scope: HoldScope) -> PlannedStep {
    let mut sources: BTreeMap<SharedStr, Vec<SharedStr>> = BTreeMap::new();
    let mut skipped = Vec::new();
    for source in sorted(model, driver) {
        if let Some(reason) = skip_reason(model, source) {
            let object = source.meta.key(ObjectKind::ReplicationSource);
            skipped.push(Skipped::new(object, reason));
        } else {
            let meta = &source.meta;
            let names = sources.entry(meta.namespace.clone()).or_default();
            names.push(meta.name.clone());
        }
    }
    let of_driver = model
        .snapshot_classes
        .iter()
        .filter(|class| scope == HoldScope::Classes && class.driver == *driver);
    let mut snapshot_classes: Vec<_> = of_driver.map(|class| class.name.clone()).collect();
    snapshot_classes.sort();
    PlannedStep {
        skipped,
        sources,
        snapshot_classes,
        ..PlannedStep::new(StepName::SuspendSources)
    }
}

/// Sources whose claim is of `driver`, or of an unknown one: a missing claim names no driver.
fn sorted<'m>(model: &'m Model, driver: &SharedStr) -> Vec<&'m Source> {
    let mut sources: Vec<_> = model
        .sources
        .iter()
        .filter(|source| {
            let claim = source
                .claim
                .as_ref()
                .and_then(|name| model.claims.get(&source.meta.namespace, name));
            let class =
                claim.and_then(|claim| model.storage_classes.get_cluster(claim.class.as_ref()?));
            class.is_none_or(|class| class.provisioner == *driver)
        })
        .collect();
    sources.sort_by_key(|source| (&source.meta.namespace, &source.meta.name));
    sources
}

fn skip_reason(model: &Model, source: &Source) -> Option<SkipReason> {
    if model.opted_out(&source.meta) {
        return Some(SkipReason::OptedOut);
    }
    let claim = source.claim.as_ref();
    let claim = claim.and_then(|claim| model.claims.get(&source.meta.namespace, claim));
    if claim.is_some_and(|claim| claim.meta.opted_out) {
        return Some(SkipReason::ClaimOptedOut);
    }
    match source.mover {
        Mover::Syncthing => Some(SkipReason::Syncthing),
        Mover::External => Some(SkipReason::ExternalSync),
        Mover::Job | Mover::Kopia | Mover::Unknown if source.meta.deleting.is_some() => {
            Some(SkipReason::BeingDeleted)
        }
        Mover::Unknown => Some(SkipReason::UnknownMover),
        Mover::Job | Mover::Kopia => None,
    }
}
