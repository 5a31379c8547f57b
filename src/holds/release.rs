//! Which holds are due for release, and why the others are not. Pure.
//!
//! The same rules serve a run that resumes, the sweep after a crash and the deadline: a hold knows nothing of
//! how it came to be left over.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Hold;
use crate::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase};
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
pub fn held_objects(model: &Model) -> Vec<HeldObject<'_>> {
    let sources = model.sources.unsettled().filter_map(|source| {
        let claim = source.claim.as_ref();
        Some(HeldObject {
            object: source.meta.key(ObjectKind::ReplicationSource),
            hold: source.hold.as_ref()?,
            claim: claim.and_then(|name| model.claims.get(&source.meta.namespace, name)),
            planned: false,
        })
    });
    let claims = model.claims.unsettled().filter_map(|claim| {
        Some(HeldObject {
            object: claim.meta.key(ObjectKind::PersistentVolumeClaim),
            hold: claim.hold.as_ref()?,
            claim: Some(claim),
            planned: false,
        })
    });
    let mut all: Vec<_> = sources.chain(claims).collect();
    let holding = all.iter().map(|held| &held.hold.run.uid).collect();
    let planned = planned(model, &holding);
    for held in &mut all {
        let targets = planned.get(&held.hold.run.uid);
        held.planned = targets.is_some_and(|targets| targets.contains(&held.object.uid));
    }
    all.sort_by(|a, b| place(&a.object).cmp(&place(&b.object)));
    all
}

/// Objects whose mark cannot be read, in the same order. What was switched off there, nobody but a person can tell.
pub fn unreadable(model: &Model) -> Vec<ObjectKey> {
    let sources = model.sources.unsettled();
    let sources = sources.filter(|source| source.unreadable_mark);
    let sources = sources.map(|source| source.meta.key(ObjectKind::ReplicationSource));
    let claims = model.claims.unsettled();
    let claims = claims.filter(|claim| claim.unreadable_mark);
    let claims = claims.map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim));
    let mut all: Vec<_> = sources.chain(claims).collect();
    all.sort_by(|a, b| place(a).cmp(&place(b)));
    all
}

fn place(object: &ObjectKey) -> (&Sym, &Sym, bool) {
    let source_first = object.kind != ObjectKind::ReplicationSource;
    (&object.namespace, &object.name, source_first)
}

/// What each of `runs` is to hold, all by uid. Not of every run there is: those of a year ago have plans as long.
fn planned<'m>(model: &'m Model, runs: &HashSet<&Uid>) -> HashMap<&'m Uid, HashSet<&'m Uid>> {
    let holding = model.runs.iter().filter(|run| runs.contains(&run.meta.uid));
    holding
        .filter_map(|run| {
            let plan = run.object.status.as_ref()?.plan.as_ref()?;
            let held = plan.step(StepName::SuspendSources)?;
            let objects = held.targets.iter().map(|target| &target.object.uid);
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
    let running = running_claims(model);
    // Once for each run, and not for each of the objects it holds: its plan names as many.
    let runs: HashMap<&Uid, Stage> = model
        .runs
        .iter()
        .map(|run| {
            let stage = Stage::of(&run.object, model, &running, policy);
            (&run.meta.uid, stage)
        })
        .collect();
    held.into_iter()
        .map(|held| {
            let stage = runs.get(&held.hold.run.uid).copied();
            let due = judge(model, &held, stage, &running, policy, now);
            (held, due)
        })
        .collect()
}

/// How far a run is, as its holds see it.
#[derive(Clone, Copy)]
enum Stage {
    AtWork,
    /// It resumes, or has ended well.
    Resumes,
    /// The same, and so many of its apps run that all may resume.
    ResumesAll,
    /// It has ended, or is about to, without success.
    GaveUp,
}

impl Stage {
    fn of(
        run: &Remediation,
        model: &Model,
        running: &HashSet<(&Sym, &Sym)>,
        policy: ReleasePolicy,
    ) -> Self {
        let none_yet = RemediationStatus::default();
        let status = run.status.as_ref().unwrap_or(&none_yet);
        let failed = matches!(
            status.phase,
            Phase::NothingToDo | Phase::Failed | Phase::Aborted | Phase::Expired | Phase::Planned
        );
        let step_failed = status
            .steps
            .iter()
            .any(|step| step.attempt == status.attempt && step.phase == StepPhase::Failed);
        if failed || step_failed || run.spec.abort {
            Self::GaveUp
        } else if status.step != Some(StepName::ResumeSources) && !status.phase.finished() {
            Self::AtWork
        } else if all_may_resume(model, status, running, policy) {
            Self::ResumesAll
        } else {
            Self::Resumes
        }
    }
}

fn judge(
    model: &Model,
    held: &HeldObject<'_>,
    run: Option<Stage>,
    running: &HashSet<(&Sym, &Sym)>,
    policy: ReleasePolicy,
    now: Timestamp,
) -> Due {
    if now >= held.hold.until {
        return Due::Now("its deadline has passed");
    }
    match run {
        None if model.freshness.trusted(Kind::Remediations) => return Due::Now("its run is gone"),
        // A list that has not come yet knows of no run at all.
        None => return Due::Waits("the Remediations to be listed"),
        Some(Stage::GaveUp) => return Due::InTurn("its run has ended without success"),
        Some(Stage::AtWork) => return Due::AtWork,
        Some(Stage::ResumesAll) => return Due::InTurn("enough apps run"),
        Some(Stage::Resumes) => {}
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
    status: &RemediationStatus,
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
