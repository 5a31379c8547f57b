//! ReplicationSources whose claim is missing or being deleted, and held ReplicationSources.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DetectionSettings, Finding, FindingReason, SourceReason};
use crate::api::{ObjectKind, SharedStr};
use crate::holds;
use crate::model::Model;
use crate::model::records::{Claim, Mover, Source};

/// When each suspect becomes orphaned, and when each hold ends. A missing claim needs no due time: each look-up of it is a
/// change of the model.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let after = settings.detect.orphaned_after;
    let holds = holds::enforced(model).map(|hold| hold.until);
    let orphaned = suspects(model).into_iter().flat_map(move |source| {
        let claim = source.claim.as_ref();
        let claim = claim.and_then(|claim| model.claims.get(&source.meta.namespace, claim));
        let going = claim.and_then(|claim| claim.meta.deleting);
        [Some(source.meta.created), going]
            .into_iter()
            .flatten()
            .map(move |since| after.after(since.at()))
    });
    orphaned.chain(holds)
}

/// Findings about sources.
pub fn detect<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    let orphaned = suspects(model).into_iter().filter_map(move |source| {
        let claim = source
            .claim
            .as_ref()
            .and_then(|claim| model.claims.get(&source.meta.namespace, claim));
        orphaned(model, settings, source, claim, now)
    });
    let held = holds::held(model, now);
    let held: Vec<_> = held
        .chunk_by(|a, b| a.source == b.source)
        .filter_map(|of_source| finding(model, of_source))
        .collect();
    orphaned.chain(held)
}

/// Sources whose claim is missing, being deleted or pending.
fn suspects(model: &Model) -> Vec<&Source> {
    let claims = model.claims.needs_attention();
    let claims = claims.map(|claim| (&claim.meta.namespace, &claim.meta.name));
    let of_claims = claims
        .chain(model.absences.iter())
        .flat_map(|(namespace, name)| model.sources.of_claim(namespace, name));
    let by_name: BTreeMap<_, _> = of_claims
        .map(|source| ((&source.meta.namespace, &source.meta.name), source))
        .collect();
    by_name.into_values().collect()
}

fn orphaned(
    model: &Model,
    settings: &DetectionSettings,
    source: &Source,
    claim: Option<&Claim>,
    now: Timestamp,
) -> Option<Finding> {
    let name = source.claim.as_ref()?;
    let after = settings.detect.orphaned_after;
    let going = model
        .namespaces
        .get_cluster(&source.meta.namespace)
        .is_some_and(|n| n.terminating);
    if matches!(source.mover, Mover::External | Mover::Syncthing)
        || going
        || source.meta.deleting.is_some()
    {
        return None;
    }
    let (reason, since, evidence) = if let Some(claim) = claim {
        let evidence = format!("PersistentVolumeClaim {name} is being deleted");
        let since = claim.meta.deleting?.at();
        (SourceReason::ClaimTerminating, since, evidence)
    } else {
        let absence = model.absences.of(&source.meta.namespace, name)?;
        // Both ends of the span are reads: time without a read proves nothing.
        let span = absence.last.duration_since(absence.first);
        if !absence.counts() || (span <= after.signed() && !settings.one_shot) {
            return None;
        }
        let times = absence.count;
        let evidence = format!("PersistentVolumeClaim {name} not found in {times} reads");
        (SourceReason::ClaimMissing, absence.first, evidence)
    };
    let young = now <= after.after(source.meta.created.at());
    let lately = now <= after.after(since);
    if young || (lately && !(settings.one_shot && reason == SourceReason::ClaimMissing)) {
        return None;
    }
    Some(Finding {
        what: FindingReason::OrphanedSource(reason),
        evidence: vec![evidence],
        chain: claim
            .map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim))
            .into_iter()
            .collect(),
        ..about(model, source, claim, since)
    })
}

/// One finding for all holds of a source.
fn finding(model: &Model, of_source: &[holds::HeldSource<'_>]) -> Option<Finding> {
    let first = of_source.first()?;
    let place = &first.source;
    let source = model.sources.get(&place.namespace, &place.name);
    let source = source.filter(|source| source.meta.uid == place.uid)?;
    let since = of_source.iter().map(|one| one.hold.meta.created).min()?;
    let evidence = of_source.iter().map(|one| {
        let hold = one.hold;
        format!("held by {} until {}", hold.holder(), hold.until)
    });
    Some(Finding {
        evidence: evidence.collect(),
        ..about(model, source, first.claim, since.at())
    })
}

/// Driver of the claim; if the claim is gone, the driver of the snapshots or volumes that the source creates.
fn driver(model: &Model, source: &Source, class: Option<&SharedStr>) -> Option<SharedStr> {
    let provisioner = |class: &SharedStr| {
        let class = model.storage_classes.get_cluster(class)?;
        Some(class.provisioner.clone())
    };
    let snapshotter = |class: &SharedStr| {
        let class = model.snapshot_classes.get_cluster(class)?;
        Some(class.driver.clone())
    };
    class
        .and_then(provisioner)
        .or_else(|| source.snapshot_class.as_ref().and_then(snapshotter))
        .or_else(|| source.storage_class.as_ref().and_then(provisioner))
}

fn about(model: &Model, source: &Source, claim: Option<&Claim>, since: Timestamp) -> Finding {
    let class = claim.and_then(|claim| claim.class.clone());
    Finding {
        what: FindingReason::HeldSource,
        object: Some(source.meta.key(ObjectKind::ReplicationSource)),
        since,
        driver: driver(model, source, class.as_ref()),
        class,
        bytes: claim.map_or(0, |claim| claim.requested),
        restores: None,
        chain: Vec::new(),
        evidence: Vec::new(),
    }
}
