//! Which held sources are due for release, and why the others are not. Pure.
//!
//! A run that resumes and the clean-up after a crash follow the same rules. The deadline depends on none of them: the API
//! server ends the hold by itself, and only the object must be removed.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{HeldSource, HoldChange, enforced, sources};
use crate::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase};
use crate::api::{ObjectKey, SharedStr, Uid};
use crate::api::{PlannedStep, StepName};
use crate::config::{Percent, ResumeSources, ResumeWhen};
use crate::model::records::{Claim, ClaimPhase, SnapshotHold};
use crate::model::{Kind, Model};

/// Conditions under which a successful run releases its holds.
#[derive(Clone, Copy, Debug)]
pub struct ReleasePolicy {
    /// Condition for each source.
    pub when: ResumeWhen,
    /// Share of running apps from which all sources are released.
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
    /// Immediately: its run no longer exists.
    Now(&'static str),
    /// With the next batch of the resume.
    InTurn(&'static str),
    /// Not yet; the text names the condition it waits for.
    Waits(&'static str),
    /// Not yet: its run has not finished its steps.
    RunActive,
}

/// One write that releases sources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// The SnapshotHold.
    pub hold: ObjectKey,
    /// The change of the SnapshotHold; `None` deletes it, which releases everything.
    pub change: Option<HoldChange>,
    /// Reason, for logs and Events.
    pub why: &'static str,
    /// Whether it is a batch of a resume; there is a pause between two of them.
    pub in_turn: bool,
}

/// Every source that runs hold at `now`, and whether it is due. Planned holds are never due; their creator releases them.
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

/// The due sources of one hold.
struct Batch<'m> {
    hold: &'m SnapshotHold,
    sources: Vec<Uid>,
    /// Reason for the first of them.
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

/// The writes that release the sources due at `now`, at most `batch` of those in turn.
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
            Due::InTurn(_) | Due::Waits(_) | Due::RunActive => continue,
        };
        batch.sources.push(held.source.uid);
        batch.why.get_or_insert(why);
    }
    // Classes have no apps to wait for: they are released with the first write after the run.
    let running = HashSet::new();
    let on_classes = enforced(model).filter(|hold| {
        hold.is_active(now) && hold.run.is_some() && !hold.snapshot_classes.is_empty()
    });
    for hold in on_classes {
        let why = match stage(model, hold, &running, policy) {
            Some(Stage::RunActive) => continue,
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

/// Reason to release a hold whose Remediation no longer exists.
const RUN_GONE: &str = "its run is gone";

/// The state of a run that decides about its holds.
#[derive(Clone, Copy)]
enum Stage {
    RunActive,
    /// It resumes, or has succeeded.
    Resumes,
    /// The same, and enough of its apps run to release all sources.
    ResumesAll,
    /// It has ended, or is about to end, without success.
    Unsuccessful,
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
            Self::Unsuccessful
        } else if status.step != Some(StepName::ResumeSources) && !status.phase.finished() {
            Self::RunActive
        } else if all_may_resume(model, status, running, policy) {
            Self::ResumesAll
        } else {
            Self::Resumes
        }
    }
}

/// The state of the run of `hold`; `None` if there is no such run.
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
        // Before the first list of Remediations, no run is known.
        None => return Due::Waits("the Remediations to be listed"),
        Some(Stage::Unsuccessful) => return Due::InTurn("its run has ended without success"),
        Some(Stage::RunActive) => return Due::RunActive,
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

/// Claims that a running pod mounts.
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

/// Whether enough of the apps whose sources the run was to hold are running to release all.
fn all_may_resume(
    model: &Model,
    status: &RemediationStatus,
    running: &HashSet<(&SharedStr, &SharedStr)>,
    policy: ReleasePolicy,
) -> bool {
    let Some(share) = policy.all_above else {
        return false;
    };
    // Before the first list of sources, too few apps are known, and too large a share of them is running.
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
