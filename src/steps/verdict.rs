//! The playbook's own verification: no lock errors in the logs, no failed snapshots, the apps run.

use std::collections::HashSet;

use super::{Facts, some};
use crate::api::remediation::{CheckRecord, RemediationStatus};
use crate::config::Config;
use crate::findings::{Finding, What, proven};
use crate::model::records::{Claim, ClaimPhase, Content, DataSource, Snapshot};
use crate::model::{LockKey, Model, ObjectKey, ObjectKind, Sym, Uid};
use crate::plan::{Plan, StepName};

/// Every check, passed or not. What could not be read has not passed.
pub fn judge(
    status: &RemediationStatus,
    plan: &Plan,
    model: &Model,
    findings: &[Finding],
    facts: &Facts,
    config: &Config,
) -> Vec<CheckRecord> {
    // A playbook is judged by what its steps are for.
    let has = |step| plan.step(step).is_some();
    let namespaces = &config.steps.verdict.namespaces;
    [
        has(StepName::RestartProvisioner).then(|| no_lock_errors(plan, model, findings, facts)),
        has(StepName::DeleteFailedSnapshots)
            .then(|| no_failed_snapshots(status, plan, findings, facts)),
        has(StepName::ResumeSources).then(|| apps_running(plan, model, namespaces)),
        has(StepName::DeleteOrphanedSources).then(|| no_orphans(plan, model)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The orphaned sources of the plan, those left alone aside.
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

fn no_lock_errors(plan: &Plan, model: &Model, findings: &[Finding], facts: &Facts) -> CheckRecord {
    let result = match &facts.refusals {
        None => Err("the provisioner's logs were not read".to_owned()),
        Some(Err(error)) => Err(format!("failed to read the provisioner's logs: {error}")),
        Some(Ok(refusals)) => {
            // A line stays in the tail after what it tells of is over.
            let still: Vec<_> = refusals
                .iter()
                .filter(|refusal| waits(model, &refusal.key))
                .collect();
            // What an Event alone says, whoever may write one can keep saying.
            let proven = proven(model, &plan.driver, facts.at);
            let locked = findings.iter().any(|finding| {
                finding.driver.as_ref() == Some(&plan.driver)
                    && matches!(&finding.what, What::OperationLock(key) if proven.contains(key))
            });
            match still.first() {
                Some(refusal) => Err(format!("{} still refuses {}", refusal.pod, refusal.key)),
                None if locked => Err("an operation lock is still found".to_owned()),
                None => Ok("no lock errors in the logs of any replica".to_owned()),
            }
        }
    };
    check("no lock errors", result)
}

/// Whether what `key` is of still waits; a key that leads nowhere known is taken to wait.
fn waits(model: &Model, key: &LockKey) -> bool {
    if let Some(uid) = key.claim().filter(|_| !key.is_path()) {
        let claim = model
            .claims
            .iter()
            .find(|claim| claim.meta.uid.is_meant_by(uid));
        return claim.is_some_and(|claim| claim.phase == ClaimPhase::Pending);
    }
    if let Some(uid) = key.snapshot().filter(|_| !key.is_path()) {
        let snapshot = model
            .snapshots
            .iter()
            .find(|snapshot| snapshot.meta.uid.is_meant_by(uid));
        return snapshot.is_some_and(|snapshot| snapshot.ready != Some(true));
    }
    let of_key = |content: &&Content| {
        let handles = [&content.handle, &content.volume_handle];
        handles.into_iter().flatten().any(|handle| *handle == key.0)
    };
    let mut contents = model.contents.iter().filter(of_key).peekable();
    contents.peek().is_none() || contents.any(|content| holds_up(model, content))
}

/// Whether something waits for the driver to be done with this content: its snapshot, its deletion or a restore.
fn holds_up(model: &Model, content: &Content) -> bool {
    let of_content = |snapshot: &&Snapshot| content.snapshot.as_ref() == Some(&snapshot.meta.uid);
    let Some(snapshot) = model.snapshots.iter().find(of_content) else {
        return true;
    };
    let restores = |claim: &Claim| {
        claim.phase == ClaimPhase::Pending
            && claim.meta.namespace == snapshot.meta.namespace
            && claim.data_source == Some(DataSource::Snapshot(snapshot.meta.name.clone()))
    };
    content.meta.deleting.is_some()
        || snapshot.ready != Some(true)
        || model.claims.iter().any(restores)
}

fn no_failed_snapshots(
    status: &RemediationStatus,
    plan: &Plan,
    findings: &[Finding],
    facts: &Facts,
) -> CheckRecord {
    let result = match &facts.snapshots {
        Err(error) => Err(format!("failed to list VolumeSnapshots: {error}")),
        Ok(live) => {
            let left = status
                .steps
                .iter()
                .flat_map(|step| &step.left)
                .map(|left| &left.object.uid);
            let planned = plan.step(StepName::DeleteFailedSnapshots);
            let spared = planned
                .into_iter()
                .flat_map(|step| &step.spared)
                .map(|spared| &spared.object.uid);
            let exempt: HashSet<&Uid> = left.chain(spared).collect();
            let doomed: HashSet<&Uid> = planned
                .into_iter()
                .flat_map(|step| &step.targets)
                .map(|target| &target.object.uid)
                .collect();
            let remain: Vec<ObjectKey> = live
                .iter()
                .filter(|snapshot| {
                    snapshot.ready != Some(true) && !exempt.contains(&snapshot.meta.uid)
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

/// Apps are the pods that mount a claim some source backs up; one scaled to nothing has none, and is no fault.
fn apps_running(plan: &Plan, model: &Model, namespaces: &[Sym]) -> CheckRecord {
    let held: HashSet<&Sym> = plan
        .step(StepName::SuspendSources)
        .into_iter()
        .flat_map(|step| &step.targets)
        .map(|target| &target.object.namespace)
        .collect();
    let counted = |namespace: &Sym| {
        if namespaces.is_empty() {
            held.contains(namespace)
        } else {
            namespaces.contains(namespace)
        }
    };
    let backed_up: HashSet<(&Sym, &Sym)> = model
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
