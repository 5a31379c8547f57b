//! `suspendSources`: creates the SnapshotHold, then proves that the API server enforces it.
//!
//! The hold is in force when a dry-run create of a held snapshot is refused by our policy and that of another passes. After
//! the step, [`tripwire`] looks for a snapshot that was made all the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Intent, LIST_AGAIN, Step, StepDecision, count, counted, deadline, gone, some};
use crate::api::PlannedStep;
use crate::api::StepName;
use crate::api::hold::SnapshotHoldSpec;
use crate::api::remediation::{RemediationStatus, StepPhase, StepProgress, StepRecord};
use crate::api::volsync::temporary_name;
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::api::{SkipReason, Skipped};
use crate::holds::policy::Probe;
use crate::holds::{self, HoldChange, place};
use crate::model::Model;
use crate::model::records::{DataSource, Meta, SnapshotHold};
use crate::plan::MAX_LISTED;
use crate::run_context::RunContext;

pub(super) struct SuspendSources;

impl Step for SuspendSources {
    fn advance(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepDecision {
        let settings = &cx.config.steps.suspend_sources;
        let (wanted, mut left) = resolve(cx, step);
        let object = cx.id.hold();
        let Some(hold) = cx.model.holds.get(&object.namespace, &object.name) else {
            return match record.acted_at {
                None if wanted.is_empty() && step.snapshot_classes.is_empty() => {
                    StepDecision::Done("nothing to hold".to_owned(), left)
                }
                None if cx.overdue(record, settings.within) => StepDecision::Failed(format!(
                    "failed to create {object} within {}",
                    settings.within
                )),
                None => StepDecision::Act(vec![create(cx, step, object, wanted)]),
                Some(_) => StepDecision::Failed(format!("{object} was deleted by somebody else")),
            };
        };
        if hold.run.as_ref() != Some(&cx.id) {
            // The hold of an earlier run of this name is removed with it, a moment later.
            return if cx.overdue(record, settings.within) {
                StepDecision::Failed(format!(
                    "{object} already exists and does not belong to this run"
                ))
            } else {
                StepDecision::Wait(deadline(record, settings.within))
            };
        }
        if !hold.is_active(cx.now) {
            return StepDecision::Failed(format!("{object} expired at {}", hold.until));
        }
        let mut missing = wanted;
        missing.retain(|uid, _| !hold.sources.contains_key(uid));
        if record.attempt == 1 && record.acted_at.is_none() {
            // The first attempt creates its hold with every source that exists, so a person has released an older one since.
            // A source that lost its opt-out label only now is taken for released, too.
            missing.retain(|_, place| is_newer(cx.model, place, hold));
        }
        let Some(acted_at) = record.acted_at else {
            if missing.is_empty() {
                return StepDecision::Note(StepRecord {
                    acted_at: Some(cx.now),
                    ..record.clone()
                });
            }
            if cx.overdue(record, settings.within) {
                return StepDecision::Failed(format!(
                    "failed to add {} to {object} within {}",
                    count(missing.len(), "source"),
                    settings.within
                ));
            }
            return StepDecision::Act(vec![Intent::PatchHold {
                hold: hold.key(),
                change: HoldChange {
                    add: missing,
                    ..HoldChange::default()
                },
            }]);
        };
        let missing = missing.into_iter();
        left.extend(
            missing.map(|(uid, place)| Skipped::new(source(uid, &place), SkipReason::Released)),
        );
        left.truncate(MAX_LISTED);
        prove(cx, record, hold, acted_at, left)
    }

    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress {
        let (wanted, _) = resolve(cx, step);
        let hold = holds::of_run(cx.model, &cx.id, cx.now);
        let done = hold.map_or(0, |hold| {
            let is_listed = |uid: &&Uid| hold.sources.contains_key(*uid);
            wanted.keys().filter(is_listed).count()
        });
        let waiting_for = match hold {
            None => format!("{} to be created", cx.id.hold()),
            Some(_) if record.acted_at.is_none() && done < wanted.len() => {
                format!("{} to be held", count(wanted.len() - done, "source"))
            }
            Some(_) => "proof that the hold is in force".to_owned(),
        };
        let within = cx.config.steps.suspend_sources.within;
        counted(record, within, done, wanted.len(), waiting_for)
    }
}

/// Whether the source at `place` was created after the hold. Both times are the API server's, in whole seconds.
fn is_newer(model: &Model, place: &str, hold: &SnapshotHold) -> bool {
    let source = holds::parse_place(place)
        .and_then(|(namespace, name)| model.sources.get(&namespace, &name));
    source.is_some_and(|source| source.meta.created > hold.meta.created)
}

/// Waits until every API server sees the hold, then proves it.
fn prove(
    cx: &RunContext<'_>,
    record: &StepRecord,
    hold: &SnapshotHold,
    acted_at: Timestamp,
    left: Vec<Skipped>,
) -> StepDecision {
    let settings = &cx.config.steps.suspend_sources;
    let settled = acted_at
        .checked_add(settings.settle.signed())
        .unwrap_or(acted_at);
    if cx.now < settled {
        return StepDecision::Wait(Some(settled));
    }
    if hold.sources.is_empty() && hold.snapshot_classes.is_empty() {
        return StepDecision::Done("nothing is held any more".to_owned(), left);
    }
    let facts = cx.live.filter(|facts| facts.at >= settled);
    let Some(proof) = facts.and_then(|facts| facts.proof.as_ref()) else {
        return StepDecision::Prove(Probe {
            namespace: hold.meta.namespace.clone(),
            source: probed(cx.model, hold, cx.now),
            class: hold.snapshot_classes.first().cloned(),
        });
    };
    let refuted = match proof {
        Ok(proof) => proof.refuted(),
        Err(error) => Some(error.clone()),
    };
    match refuted {
        None => {
            let sources = count(hold.sources.len(), "source");
            StepDecision::Done(
                format!("{sources} held until {:.0}, proven by dry run", hold.until),
                left,
            )
        }
        Some(_) if !cx.overdue(record, settings.within) => {
            StepDecision::Wait(cx.now.checked_add(LIST_AGAIN).ok())
        }
        Some(why) => StepDecision::Failed(format!("the hold is not in force: {why}")),
    }
}

/// The source of the proof: the newest one that no other hold names, as a later attempt probably added it.
fn probed(model: &Model, hold: &SnapshotHold, now: Timestamp) -> Option<Uid> {
    let others = holds::enforced(model).filter(|other| other.meta.uid != hold.meta.uid);
    let others: Vec<_> = others.filter(|other| other.is_active(now)).collect();
    let alone = |uid: &&Uid| others.iter().all(|other| !other.sources.contains_key(*uid));
    let created = |uid: &&Uid| {
        let (namespace, name) = &hold.sources[*uid];
        let source = model.sources.get(namespace, name)?;
        (source.meta.uid == **uid).then(|| source.meta.created.at())
    };
    let newest = hold.sources.keys().filter(alone).max_by_key(created);
    newest.or_else(|| hold.sources.keys().next()).cloned()
}

fn create(
    cx: &RunContext<'_>,
    step: &PlannedStep,
    hold: ObjectKey,
    sources: BTreeMap<Uid, String>,
) -> Intent {
    let deadline = cx.config.steps.suspend_sources.deadline.signed();
    let classes = step.snapshot_classes.iter();
    Intent::CreateHold {
        hold,
        run: cx.id.clone(),
        spec: Box::new(SnapshotHoldSpec {
            remediation: Some(cx.id.name.to_string()),
            until: holds::deadline(cx.now, deadline),
            reason: None,
            held_by: None,
            sources,
            snapshot_classes: classes.map(ToString::to_string).collect(),
        }),
    }
}

/// The planned sources that exist, by uid, and those that are left out.
fn resolve(cx: &RunContext<'_>, step: &PlannedStep) -> (BTreeMap<Uid, String>, Vec<Skipped>) {
    let (mut wanted, mut left) = (BTreeMap::new(), Vec::new());
    for (namespace, name) in step.held_sources() {
        match cx.model.sources.get(namespace, name) {
            None => left.push(gone(&source(Uid::default(), &place(namespace, name)), None)),
            Some(found) if cx.model.opted_out(&found.meta) => {
                let object = found.meta.key(ObjectKind::ReplicationSource);
                left.push(Skipped::new(object, SkipReason::OptedOut));
            }
            Some(found) => {
                wanted.insert(found.meta.uid.clone(), place(namespace, name));
            }
        }
    }
    left.truncate(MAX_LISTED);
    (wanted, left)
}

fn source(uid: Uid, place: &str) -> ObjectKey {
    let (namespace, name) = holds::parse_place(place).unwrap_or_default();
    ObjectKey {
        kind: ObjectKind::ReplicationSource,
        namespace,
        name,
        uid,
    }
}

/// Returns why the hold of a run is not in force: VolSync created a snapshot or a clone of a held source after the hold was
/// proven. Creation times are in whole seconds, so one in the same second does not count.
///
/// Only an object of the name that VolSync gives counts ([`temporary_name`]). Anybody may add an owner to another one later.
pub(super) fn tripwire(
    model: &Model,
    status: &RemediationStatus,
    hold: &SnapshotHold,
) -> Option<String> {
    let of_step = |record: &&StepRecord| record.step == StepName::SuspendSources;
    // While another attempt adds sources, those are not proven yet.
    let last = status.steps.iter().rev().find(of_step)?;
    let proven = last
        .finished_at
        .filter(|_| last.phase == StepPhase::Succeeded)?;
    // Convert `proven` to the API server's clock: the offset is the hold's creationTimestamp minus the local time at which we
    // first saw it.
    let seen = status
        .steps
        .iter()
        .filter(of_step)
        .find_map(|record| record.acted_at)?;
    let created = hold.meta.created.at();
    let proven = proven.checked_add(created.duration_since(seen)).ok()?;
    let source = |uid: Option<&Uid>| hold.sources.get(uid?);
    let is_temporary = |meta: &Meta, (namespace, name): &(SharedStr, SharedStr)| {
        meta.namespace == *namespace && *meta.name == *temporary_name(name)
    };
    let snapshots = model.snapshots.iter().filter_map(|snapshot| {
        let source = source(snapshot.source.as_ref())?;
        is_temporary(&snapshot.meta, source).then_some((&snapshot.meta, ObjectKind::VolumeSnapshot))
    });
    let clones = hold.sources.values().filter_map(|(namespace, name)| {
        let claim = model.claims.get(namespace, &temporary_name(name).into())?;
        matches!(claim.data_source, Some(DataSource::Claim(_)))
            .then_some((&claim.meta, ObjectKind::PersistentVolumeClaim))
    });
    let made: Vec<_> = snapshots
        .chain(clones)
        .filter(|(meta, _)| meta.created.at() > proven)
        .map(|(meta, kind)| meta.key(kind))
        .collect();
    (!made.is_empty()).then(|| {
        let names = some(made.iter());
        format!("VolSync created {names} from a held source; the hold is not in force")
    })
}
