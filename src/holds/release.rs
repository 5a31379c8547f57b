//! Which holds are due for release, and why the others are not. Pure.
//!
//! The same rules serve a run that resumes, the sweep after a crash and the deadline: a hold knows nothing of
//! how it came to be left over.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Hold;
use crate::api::remediation::{Phase, Remediation, StepPhase};
use crate::config::{Percent, ResumeWhen};
use crate::model::records::{Claim, ClaimPhase};
use crate::model::{Kind, Model, ObjectKey, ObjectKind, Sym, Uid};
use crate::plan::StepName;

/// When holds of a run that went well are released.
#[derive(Clone, Copy, Debug)]
pub struct ReleasePolicy {
    /// Which sources.
    pub when: ResumeWhen,
    /// Share of running apps above which all are.
    pub all_above: Option<Percent>,
}

/// An object that carries our mark.
#[derive(Clone, Debug)]
pub struct HeldObject<'m> {
    /// The object.
    pub object: ObjectKey,
    /// The mark.
    pub hold: &'m Hold,
    /// The claim it is about: a source's own, or itself. `None` when there is no such claim.
    pub claim: Option<&'m Claim>,
    /// Whether the plan of the run the mark names is to hold it. A mark that somebody else wrote is undone like any
    /// other, and takes no turn of those that are planned.
    pub planned: bool,
}

/// Whether a hold is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Due {
    /// At once: its time is up, or its run is no more.
    Now(&'static str),
    /// In the order and at the pace of a resume.
    InTurn(&'static str),
    /// Not yet; this is what it waits for.
    Waits(&'static str),
    /// Not yet: as far as the model shows, its run is still at work.
    AtWork,
}

/// Everything held, by namespace and name, a source before the claim of that name.
pub fn held_objects<'m>(model: &'m Model) -> Vec<HeldObject<'m>> {
    let planned = planned(model);
    let held = |object: ObjectKey, hold: &'m Hold, claim| HeldObject {
        planned: planned
            .get(&hold.run.uid)
            .is_some_and(|targets| targets.contains(&object)),
        object,
        hold,
        claim,
    };
    let sources = model.sources.unsettled().filter_map(|source| {
        Some(held(
            source.meta.key(ObjectKind::ReplicationSource),
            source.hold.as_ref()?,
            source
                .claim
                .as_ref()
                .and_then(|name| model.claims.get(&source.meta.namespace, name)),
        ))
    });
    let claims = model.claims.unsettled().filter_map(|claim| {
        Some(held(
            claim.meta.key(ObjectKind::PersistentVolumeClaim),
            claim.hold.as_ref()?,
            Some(claim),
        ))
    });
    let mut all: Vec<_> = sources.chain(claims).collect();
    all.sort_by(|a, b| {
        let place = |held: &HeldObject<'_>| {
            let source_first = held.object.kind != ObjectKind::ReplicationSource;
            (
                held.object.namespace.clone(),
                held.object.name.clone(),
                source_first,
            )
        };
        place(a).cmp(&place(b))
    });
    all
}

/// What each run is to hold, by its uid.
fn planned(model: &Model) -> HashMap<&Uid, HashSet<&ObjectKey>> {
    model
        .runs
        .iter()
        .filter_map(|run| {
            let plan = run.object.status.as_ref()?.plan.as_ref()?;
            let held = plan.step(StepName::SuspendSources)?;
            let objects = held.targets.iter().map(|target| &target.object);
            Some((&run.meta.uid, objects.collect()))
        })
        .collect()
}

/// Every held object with whether it is due at `now`.
pub fn due(model: &Model, policy: ReleasePolicy, now: Timestamp) -> Vec<(HeldObject<'_>, Due)> {
    let held = held_objects(model);
    if held.is_empty() {
        return Vec::new();
    }
    let runs: HashMap<&Uid, &Remediation> = model
        .runs
        .iter()
        .map(|run| (&run.meta.uid, &*run.object))
        .collect();
    let running = running_claims(model);
    held.into_iter()
        .map(|held| {
            let due = judge(
                model,
                &held,
                runs.get(&held.hold.run.uid).copied(),
                &running,
                policy,
                now,
            );
            (held, due)
        })
        .collect()
}

fn judge(
    model: &Model,
    held: &HeldObject<'_>,
    run: Option<&Remediation>,
    running: &HashSet<(&Sym, &Sym)>,
    policy: ReleasePolicy,
    now: Timestamp,
) -> Due {
    if now >= held.hold.until {
        return Due::Now("its deadline has passed");
    }
    let Some(run) = run else {
        // A list that has not come yet knows of no run at all.
        return if model.freshness.trusted(Kind::Remediations) {
            Due::Now("its run is gone")
        } else {
            Due::Waits("the Remediations to be listed")
        };
    };
    let status = run.status.clone().unwrap_or_default();
    let failed = |phase| matches!(phase, Phase::Failed | Phase::Aborted | Phase::Planned);
    let gave_up = status
        .steps
        .iter()
        .any(|step| step.attempt == status.attempt && step.phase == StepPhase::Failed);
    if failed(status.phase) || gave_up || run.spec.abort {
        return Due::InTurn("its run has ended without success");
    }
    let resuming = status.step == Some(StepName::ResumeSources) || status.phase.finished();
    if !resuming {
        return Due::AtWork;
    }
    if all_may_resume(model, &status, running, policy) {
        return Due::InTurn("enough apps run");
    }
    let mounted = |claim: &Claim| running.contains(&(&claim.meta.namespace, &claim.meta.name));
    match (policy.when, held.claim) {
        (ResumeWhen::All, _) => Due::InTurn("its run resumes"),
        (_, None) => Due::Waits("its PersistentVolumeClaim to exist"),
        (ResumeWhen::Bound, Some(claim)) if claim.phase == ClaimPhase::Bound => {
            Due::InTurn("its PersistentVolumeClaim is Bound")
        }
        (ResumeWhen::Bound, Some(_)) => Due::Waits("its PersistentVolumeClaim to be Bound"),
        (ResumeWhen::Running, Some(claim)) if mounted(claim) => Due::InTurn("its app runs"),
        (ResumeWhen::Running, Some(_)) => Due::Waits("its app to run"),
    }
}

/// Claims some running pod mounts.
fn running_claims(model: &Model) -> HashSet<(&Sym, &Sym)> {
    model
        .pods
        .iter()
        .filter(|pod| pod.running && pod.ready && pod.meta.deleting.is_none())
        .flat_map(|pod| {
            pod.claims
                .iter()
                .map(move |claim| (&pod.meta.namespace, claim))
        })
        .collect()
}

/// Whether so many of the apps whose sources the run held are running that all may resume.
fn all_may_resume(
    model: &Model,
    status: &crate::api::remediation::RemediationStatus,
    running: &HashSet<(&Sym, &Sym)>,
    policy: ReleasePolicy,
) -> bool {
    let Some(share) = policy.all_above else {
        return false;
    };
    let Some(planned) = status
        .plan
        .as_ref()
        .and_then(|plan| plan.step(StepName::SuspendSources))
    else {
        return false;
    };
    let apps: HashSet<_> = planned
        .targets
        .iter()
        .filter_map(|target| {
            let object = &target.object;
            // A source that is held through its claim alone counts by that claim.
            if object.kind == ObjectKind::PersistentVolumeClaim {
                return Some((&object.namespace, &object.name));
            }
            let source = model.sources.get(&object.namespace, &object.name)?;
            Some((&source.meta.namespace, source.claim.as_ref()?))
        })
        .collect();
    let run = apps.iter().filter(|app| running.contains(*app)).count();
    !apps.is_empty() && share.reached_by(run, apps.len())
}

#[cfg(test)]
mod tests;
