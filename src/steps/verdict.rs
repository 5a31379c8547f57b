//! The final verification of a run: no lock errors in the logs, no failed snapshots, nothing waits for the driver, the apps
//! run. Also decides whether the run repaired anything.

use std::collections::HashSet;

use jiff::Timestamp;

use super::some;
use crate::api::remediation::{CheckRecord, Phase};
use crate::api::{Action, Plan, SkipReason, StepName, Target};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::findings::{
    self, Finding, FindingReason, Waiters, proven, snapshot_content, snapshot_driver,
};
use crate::model::Model;
use crate::model::records::{Claim, ClaimPhase, Snapshot};
use crate::plan::{MAX_LISTED, skipped_uids, snapshot_skip_reason};
use crate::run_context::{LiveState, RunContext};

/// A run whose steps are all done.
pub struct Judged<'a> {
    /// The run and the cluster.
    pub cx: &'a RunContext<'a>,
    /// The plan that was run.
    pub plan: &'a Plan,
    /// The uncached reads after the last step.
    pub live: &'a LiveState,
    /// When the last step ended.
    pub ended: Timestamp,
}

/// Outcome of a run that passed every check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Something was repaired, and claims became Bound or a playbook without verification did its work.
    Healed,
    /// Something was repaired, and there was no claim to verify it by.
    Repaired,
    /// The run repaired nothing that it was for.
    Nothing,
}

impl Outcome {
    /// The phase the run ends in.
    pub fn phase(self) -> Phase {
        match self {
            Self::Healed | Self::Repaired => Phase::Succeeded,
            Self::Nothing => Phase::NothingToDo,
        }
    }

    /// One line for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::Healed => "repaired and verified",
            Self::Repaired => "repaired; no claim was waiting to verify it with",
            Self::Nothing => "this run repaired nothing",
        }
    }
}

impl Judged<'_> {
    /// Every check, passed or not. A check whose input could not be read has not passed.
    pub fn checks(&self) -> Vec<CheckRecord> {
        let Self { cx, plan, live, .. } = self;
        let (model, findings) = (cx.model, cx.findings);
        // A playbook is judged by what its steps are for.
        let has = |step| plan.step(step).is_some();
        let namespaces = &cx.config.steps.verdict.namespaces;
        [
            has(StepName::RestartProvisioner).then(|| no_lock_errors(cx, plan, live)),
            has(StepName::DeleteFailedSnapshots)
                .then(|| no_failed_snapshots(&self.exempt(), plan, findings, live)),
            has(StepName::VerifyProvisioning).then(|| self.nothing_waits()),
            has(StepName::ResumeSources).then(|| apps_running(plan, model, namespaces)),
            has(StepName::DeleteOrphanedSources).then(|| no_orphans(plan, model)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The outcome of the run, if every check has passed.
    pub fn outcome(&self) -> Outcome {
        if !self.repaired() {
            return Outcome::Nothing;
        }
        let verifies = self.plan.step(StepName::VerifyProvisioning).is_some();
        if verifies && self.bound().next().is_none() {
            Outcome::Repaired
        } else {
            Outcome::Healed
        }
    }

    /// Whether anything the run was for is repaired by now.
    fn repaired(&self) -> bool {
        let restarts = self.plan.step(StepName::RestartProvisioner).is_some();
        // The first check has found that none is left.
        let unlocked = restarts && !self.plan.locks.is_empty();
        let late = self.cx.config.detect.pending_after;
        let late = |claim: &Claim| self.plan.made_at > late.after(claim.meta.created.at());
        unlocked || self.recovered() || self.bound().any(late)
    }

    /// The claims of the plan that are Bound.
    fn bound(&self) -> impl Iterator<Item = &Claim> {
        let awaited = self.targets(StepName::VerifyProvisioning);
        awaited
            .filter(|target| target.action == Action::Await)
            .filter_map(|target| {
                let object = &target.object;
                let claim = self.cx.model.claims.get(&object.namespace, &object.name);
                claim.filter(|claim| claim.meta.uid == object.uid)
            })
            .filter(|claim| claim.phase == ClaimPhase::Bound)
    }

    /// Whether a failed snapshot or an orphan of the plan is gone, or a failed snapshot goes on: one that the run was not
    /// to delete may have been healed by the restart.
    fn recovered(&self) -> bool {
        let goes_on = |object: &ObjectKey| {
            let found = self.cx.model.snapshots.get(&object.namespace, &object.name);
            let found = found.filter(|snapshot| snapshot.meta.uid == object.uid)?;
            let content = snapshot_content(self.cx.model, found);
            let accepted = content.is_some_and(|content| content.handle.is_some());
            Some(found.ready == Some(true) || found.meta.deleting.is_some() || accepted)
        };
        let gone = |object: &ObjectKey| {
            let found = self.cx.model.sources.get(&object.namespace, &object.name);
            found.is_none_or(|source| source.meta.uid != object.uid)
        };
        let skipped = self
            .plan
            .step(StepName::DeleteFailedSnapshots)
            .into_iter()
            .flat_map(|step| &step.skipped)
            .filter(|skipped| skipped.reason != SkipReason::Processing);
        self.targets(StepName::DeleteFailedSnapshots)
            .any(|target| goes_on(&target.object).unwrap_or(true))
            || skipped
                .into_iter()
                .any(|skipped| goes_on(&skipped.object) == Some(true))
            || self
                .targets(StepName::DeleteOrphanedSources)
                .any(|target| gone(&target.object))
    }

    fn targets(&self, step: StepName) -> impl Iterator<Item = &Target> {
        let step = self.plan.step(step);
        step.into_iter().flat_map(|step| &step.targets)
    }

    /// Checks that no claim or snapshot requested before the last step ended still waits for the driver. A call that hangs
    /// again neither logs nor refuses anything until its timeout (150 s with Rook), so only the waiting object shows it.
    fn nothing_waits(&self) -> CheckRecord {
        let result = match &self.live.snapshots {
            Err(error) => Err(format!("failed to list VolumeSnapshots: {error}")),
            Ok(snapshots) => {
                let claims = self.waiting_claims();
                let exempt = self.exempt();
                let snapshots = snapshots.iter().filter(|snapshot| {
                    !exempt.contains(&snapshot.meta.uid) && self.waits(snapshot)
                });
                let snapshots =
                    snapshots.map(|snapshot| snapshot.meta.key(ObjectKind::VolumeSnapshot));
                let waiting: Vec<ObjectKey> = claims.chain(snapshots).collect();
                if waiting.is_empty() {
                    Ok("nothing waits for the driver".to_owned())
                } else {
                    let (number, names) = (waiting.len(), some(waiting.iter()));
                    Err(format!("{number} still wait for the driver: {names}"))
                }
            }
        };
        check("nothing waits", result)
    }

    /// Objects that the steps skipped, and those that the plan skipped. If the plan's list is cut at [`MAX_LISTED`], a new plan
    /// supplies the rest.
    fn exempt(&self) -> HashSet<Uid> {
        let steps = self.cx.status().steps.iter();
        let left = steps
            .flat_map(|step| &step.skipped)
            .map(|left| &left.object.uid);
        let deletions = self.plan.step(StepName::DeleteFailedSnapshots);
        let skipped = deletions.into_iter().flat_map(|step| &step.skipped);
        let skipped: Vec<_> = skipped.map(|skipped| &skipped.object.uid).collect();
        let is_cut = skipped.len() >= MAX_LISTED;
        let mut exempt: HashSet<Uid> = left.chain(skipped).cloned().collect();
        if is_cut {
            let scope = self.cx.config.steps.delete_failed_snapshots.scope;
            let targets: HashSet<_> = self
                .targets(StepName::DeleteFailedSnapshots)
                .map(|target| &target.object.uid)
                .collect();
            let skipped = skipped_uids(self.cx.model, self.cx.findings, &self.plan.driver, scope);
            exempt.extend(skipped.filter(|uid| !targets.contains(uid)));
        }
        exempt
    }

    fn waiting_claims(&self) -> impl Iterator<Item = ObjectKey> {
        findings::awaited(self.cx.model, &self.cx.config.drivers, &self.plan.driver)
            .filter(|claim| claim.meta.created.at() <= self.ended)
            .map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim))
    }

    /// Whether the snapshot was asked for before the end and the driver has not accepted it.
    fn waits(&self, snapshot: &Snapshot) -> bool {
        let content = snapshot_content(self.cx.model, snapshot);
        let driver = snapshot_driver(self.cx.model, snapshot, content);
        let scope = crate::config::DeleteScope::All;
        snapshot.ready != Some(true)
            && snapshot.meta.deleting.is_none()
            && snapshot.meta.created.at() <= self.ended
            && driver.as_ref() == Some(&self.plan.driver)
            && content.is_some()
            && snapshot_skip_reason(self.cx.model, snapshot, scope).is_none()
    }
}

/// The orphaned sources of the plan that were not skipped.
fn no_orphans(plan: &Plan, model: &Model) -> CheckRecord {
    let planned = plan.step(StepName::DeleteOrphanedSources);
    let remain: Vec<_> = planned
        .into_iter()
        .flat_map(|step| &step.targets)
        .map(|target| &target.object)
        .filter(|object| {
            let found = model.sources.get(&object.namespace, &object.name);
            found.is_some_and(|source| source.meta.uid == object.uid)
        })
        .filter(|object| {
            // One whose claim came back is no orphan any more.
            let source = model.sources.get(&object.namespace, &object.name);
            let claim = source.and_then(|source| source.claim.as_ref());
            claim.is_none_or(|claim| model.claims.get(&object.namespace, claim).is_none())
        })
        .collect();
    let result = if remain.is_empty() {
        Ok("no orphaned source of the plan remains".to_owned())
    } else {
        Err(format!(
            "{} remain: {}",
            remain.len(),
            some(remain.into_iter())
        ))
    };
    check("no orphaned sources", result)
}

fn check(name: &str, result: Result<String, String>) -> CheckRecord {
    let passed = result.is_ok();
    CheckRecord {
        check: name.to_owned(),
        passed,
        message: result.unwrap_or_else(|message| message),
    }
}

fn no_lock_errors(cx: &RunContext<'_>, plan: &Plan, live: &LiveState) -> CheckRecord {
    let (model, findings) = (cx.model, cx.findings);
    let has_log = cx.config.drivers.log_container(&plan.driver).is_some();
    let result = match &live.refusals {
        None => Err("the provisioner's logs were not read".to_owned()),
        Some(Err(error)) => Err(format!("failed to read the provisioner's logs: {error}")),
        Some(Ok(refusals)) => {
            // A line stays in the tail after its object is served. A key without an object usually belongs to the deletion
            // of an old volume: no object waits for it, and each retry is refused as long as the call hangs.
            let waiters = Waiters::of(model);
            let still = refusals
                .iter()
                .find(|refusal| waiters.wait_for(&refusal.key));
            // A tenant can repeat an Event for ever, so that an Event alone does not count.
            let proven = proven(model, cx.config, &plan.driver, live.at);
            let locked = findings.iter().any(|finding| {
                finding.driver.as_ref() == Some(&plan.driver)
                    && matches!(&finding.what, FindingReason::OperationLock(key) if proven.contains(key))
            });
            match still {
                Some(refusal) => Err(format!("{} still refuses {}", refusal.pod, refusal.key)),
                None if locked => Err("an operation lock is still found".to_owned()),
                None if has_log => Ok("no lock errors in the logs of any replica".to_owned()),
                None => Ok("no status shows an operation lock; the log of the driver is not read, as its container is not known".to_owned()),
            }
        }
    };
    check("no lock errors", result)
}

fn no_failed_snapshots(
    exempt: &HashSet<Uid>,
    plan: &Plan,
    findings: &[Finding],
    live: &LiveState,
) -> CheckRecord {
    let result = match &live.snapshots {
        Err(error) => Err(format!("failed to list VolumeSnapshots: {error}")),
        Ok(snapshots) => {
            let doomed: HashSet<&Uid> = plan
                .step(StepName::DeleteFailedSnapshots)
                .into_iter()
                .flat_map(|step| &step.targets)
                .map(|target| &target.object.uid)
                .collect();
            let remain: Vec<ObjectKey> = snapshots
                .iter()
                .filter(|snapshot| !exempt.contains(&snapshot.meta.uid))
                .filter(|snapshot| {
                    // A deletion of ours that does not end keeps VolSync from its next backup, ready or not.
                    let ours = doomed.contains(&snapshot.meta.uid);
                    snapshot.ready != Some(true) || (ours && snapshot.meta.deleting.is_some())
                })
                .filter(|snapshot| {
                    doomed.contains(&snapshot.meta.uid)
                        || findings.iter().any(|finding| {
                            finding.is_about(ObjectKind::VolumeSnapshot, &snapshot.meta.uid)
                                && finding
                                    .driver
                                    .as_ref()
                                    .is_none_or(|driver| *driver == plan.driver)
                        })
                })
                .map(|snapshot| snapshot.meta.key(ObjectKind::VolumeSnapshot))
                .collect();
            if remain.is_empty() {
                Ok("no failed snapshot remains".to_owned())
            } else {
                Err(format!("{} remain: {}", remain.len(), some(remain.iter())))
            }
        }
    };
    check("no failed snapshots", result)
}

/// Apps are the pods that mount a claim that a source backs up; an app scaled to zero has no pods, and passes.
fn apps_running(plan: &Plan, model: &Model, namespaces: &[SharedStr]) -> CheckRecord {
    let held: HashSet<&SharedStr> = plan
        .step(StepName::SuspendSources)
        .into_iter()
        .flat_map(|step| step.sources.keys())
        .collect();
    let counted = |namespace: &SharedStr| {
        if namespaces.is_empty() {
            held.contains(namespace)
        } else {
            namespaces.contains(namespace)
        }
    };
    let backed_up: HashSet<(&SharedStr, &SharedStr)> = model
        .sources
        .iter()
        .filter(|source| counted(&source.meta.namespace))
        .filter_map(|source| Some((&source.meta.namespace, source.claim.as_ref()?)))
        .collect();
    let apps: Vec<_> = model
        .pods
        .iter()
        .filter(|pod| !pod.finished && pod.meta.deleting.is_none())
        .filter(|pod| {
            pod.claims
                .iter()
                .any(|claim| backed_up.contains(&(&pod.meta.namespace, claim)))
        })
        .collect();
    let idle: Vec<_> = apps
        .iter()
        .filter(|pod| !pod.running)
        .map(|pod| pod.meta.key(ObjectKind::Pod))
        .collect();
    let result = if idle.is_empty() {
        Ok(format!("{} of {} app pods Running", apps.len(), apps.len()))
    } else {
        Err(format!(
            "{} of {} app pods are not Running: {}",
            idle.len(),
            apps.len(),
            some(idle.iter())
        ))
    };
    check("apps running", result)
}
