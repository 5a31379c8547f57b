//! Which held sources are due for release, and why the others are not. Pure.
//!
//! The same rules serve a run that resumes and the clean-up after a crash. The deadline needs none of them: the API server
//! stops refusing by itself, and all that is left to do is to remove the object.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{HeldSource, HoldChange, enforced, sources};
use crate::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase};
use crate::api::{ObjectKey, SharedStr, Uid};
use crate::api::{PlannedStep, StepName};
use crate::config::{Percent, ResumeSources, ResumeWhen};
use crate::model::records::{Claim, ClaimPhase, SnapshotHold};
use crate::model::{Kind, Model};

/// When holds of a run that succeeded are released.
#[derive(Clone, Copy, Debug)]
pub struct ReleasePolicy {
    /// Which sources.
    pub when: ResumeWhen,
    /// Share of running apps above which all are.
    pub all_above: Option<Percent>,
}

impl From<&ResumeSources> for ReleasePolicy {
    fn from(settings: &ResumeSources) -> Self {
        Self {
            when: settings.when,
            all_above: settings.resume_all_above,
        }
    }
}

/// Whether a held source is due for release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Due {
    /// At once: its run no longer exists.
    Now(&'static str),
    /// In the order and at the pace of a resume.
    InTurn(&'static str),
    /// Not yet; this is what it waits for.
    Waits(&'static str),
    /// Not yet: as far as the model shows, its run is still at work.
    AtWork,
}

/// One write that releases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// The SnapshotHold.
    pub hold: ObjectKey,
    /// The change that releases; `None` deletes the object, which releases the rest.
    pub change: Option<HoldChange>,
    /// Why.
    pub why: &'static str,
    /// Whether it is one of the batches of a resume, which keep a pause between them.
    pub in_turn: bool,
}

/// Every source that runs hold at `now`, with whether it is due. Planned holds are a person's.
pub fn due(model: &Model, policy: ReleasePolicy, now: Timestamp) -> Vec<(HeldSource<'_>, Due)> {
    let of_runs = enforced(model).filter(|hold| hold.run.is_some() && hold.is_active(now));
    let mut holds = of_runs.peekable();
    if holds.peek().is_none() {
        return Vec::new();
    }
    let running = running_claims(model);
    let mut all: Vec<_> = holds
        .flat_map(|hold| {
            let stage = stage(model, hold, &running, policy);
            let running = &running;
            let held = sources(model, hold).into_iter();
            held.map(move |held| {
                let due = judge(model, &held, stage, running, policy);
                (held, due)
            })
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.source.cmp(&b.source));
    all
}

/// The sources of one hold that are due.
struct Batch<'m> {
    hold: &'m SnapshotHold,
    sources: Vec<Uid>,
    /// Why the first of them is.
    why: Option<&'static str>,
}

impl<'m> Batch<'m> {
    fn of(hold: &'m SnapshotHold) -> Self {
        Self {
            hold,
            sources: Vec::new(),
            why: None,
        }
    }
}

/// The writes that release what is due at `now`, at most `batch` sources in turn.
pub fn releases(model: &Model, policy: ReleasePolicy, batch: u32, now: Timestamp) -> Vec<Release> {
    let whole = |hold: &SnapshotHold, why, in_turn| Release {
        hold: hold.key(),
        change: None,
        why,
        in_turn,
    };
    let mut all: Vec<_> = enforced(model)
        .filter(|hold| now >= hold.until && hold.meta.deleting.is_none())
        .map(|hold| whole(hold, "its deadline has passed", false))
        .collect();
    let mut room = usize::try_from(batch).unwrap_or(usize::MAX);
    let mut batches: HashMap<ObjectKey, Batch<'_>> = HashMap::new();
    for (held, due) in due(model, policy, now) {
        let batch = batches
            .entry(held.hold.key())
            .or_insert_with(|| Batch::of(held.hold));
        let why = match due {
            Due::Now(why) => why,
            Due::InTurn(why) if room > 0 => {
                room -= 1;
                why
            }
            Due::InTurn(_) | Due::Waits(_) | Due::AtWork => continue,
        };
        batch.sources.push(held.source.uid);
        batch.why.get_or_insert(why);
    }
    // Classes wait for no app: they are released with the first write after the run.
    let running = HashSet::new();
    let on_classes = enforced(model).filter(|hold| {
        hold.is_active(now) && hold.run.is_some() && !hold.snapshot_classes.is_empty()
    });
    for hold in on_classes {
        let why = match stage(model, hold, &running, policy) {
            Some(Stage::AtWork) => continue,
            None if !model.freshness.trusted(Kind::Remediations) => continue,
            None => RUN_GONE,
            Some(_) => "its run has ended",
        };
        let batch = batches.entry(hold.key()).or_insert_with(|| Batch::of(hold));
        batch.why.get_or_insert(why);
    }
    for (key, batch) in batches {
        let Some(why) = batch.why else {
            continue;
        };
        // The last batch deletes the object.
        let rest = batch.sources.len() < batch.hold.sources.len();
        all.push(Release {
            hold: key,
            why,
            in_turn: why != RUN_GONE,
            change: rest.then(|| HoldChange {
                remove: batch.sources,
                release_classes: !batch.hold.snapshot_classes.is_empty(),
                ..HoldChange::default()
            }),
        });
    }
    all.sort_by(|a, b| a.hold.cmp(&b.hold));
    all
}

/// Why everything of a hold whose Remediation no longer exists is released.
const RUN_GONE: &str = "its run is gone";

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
        running: &HashSet<(&SharedStr, &SharedStr)>,
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

/// How far the run of `hold` is; `None` where there is no such run.
fn stage(
    model: &Model,
    hold: &SnapshotHold,
    running: &HashSet<(&SharedStr, &SharedStr)>,
    policy: ReleasePolicy,
) -> Option<Stage> {
    let run = hold.run.as_ref()?;
    let found = model.runs.get(&run.namespace, &run.name);
    let found = found.filter(|found| found.meta.uid == run.uid)?;
    Some(Stage::of(&found.object, model, running, policy))
}

fn judge(
    model: &Model,
    held: &HeldSource<'_>,
    run: Option<Stage>,
    running: &HashSet<(&SharedStr, &SharedStr)>,
    policy: ReleasePolicy,
) -> Due {
    match run {
        None if model.freshness.trusted(Kind::Remediations) => return Due::Now(RUN_GONE),
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
        (_, None) if !held.exists && !model.freshness.trusted(Kind::ReplicationSources) => {
            Due::Waits("the ReplicationSources to be listed")
        }
        (_, None) if !held.exists => Due::InTurn("the source no longer exists"),
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
fn running_claims(model: &Model) -> HashSet<(&SharedStr, &SharedStr)> {
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

/// Whether so many of the apps whose sources the run was to hold are running that all may resume.
fn all_may_resume(
    model: &Model,
    status: &RemediationStatus,
    running: &HashSet<(&SharedStr, &SharedStr)>,
    policy: ReleasePolicy,
) -> bool {
    let Some(share) = policy.all_above else {
        return false;
    };
    // A list that has not come yet shows too few apps, and too large a share of them running.
    if !model.freshness.trusted(Kind::ReplicationSources) {
        return false;
    }
    let planned = status.plan.as_ref();
    let planned = planned.and_then(|plan| plan.step(StepName::SuspendSources));
    let apps: HashSet<_> = planned
        .into_iter()
        .flat_map(PlannedStep::held_sources)
        .filter_map(|(namespace, name)| {
            let source = model.sources.get(namespace, name)?;
            Some((namespace, source.claim.as_ref()?))
        })
        .collect();
    let run = apps.iter().filter(|app| running.contains(*app)).count();
    !apps.is_empty() && share.reached_by(run, apps.len())
}

#[cfg(test)]
mod tests;
