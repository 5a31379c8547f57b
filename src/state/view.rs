//! The view for readers: an immutable snapshot of the findings and the state they are based on. Pure.
//!
//! Metrics, the API and the command line read the same view, and never the model. Its size depends on the stuck objects,
//! not on the cluster.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::StepName;
use crate::api::remediation::{
    GateRecord, Phase, RemediationStatus, StepPhase, StepProgress, StepRecord,
};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::config::{Config, Mode, Steps};
use crate::findings::{
    self, DetectionSettings, Doubt, DoubtKind, Finding, FindingKind, FormingLocks,
};
use crate::gates;
use crate::holds;
use crate::model::{Freshness, Kind, Model, records};

/// The latest observation of the cluster.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Time of the observation.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Mode of operation.
    pub mode: Mode,
    /// Findings: stuck objects and held sources.
    pub findings: Vec<Finding>,
    /// Locks that are forming: keys that a driver refuses, but not yet for as long as a lock.
    pub forming_locks: Vec<FormingLocks>,
    /// State of each watch.
    pub freshness: Freshness,
    /// Reasons that findings may be missing. While there is any, "Nothing is stuck" is not reported.
    pub doubts: Vec<Doubt>,
    /// CSI drivers that are in use and watched.
    pub drivers: Vec<SharedStr>,
    /// Provisioners of the drivers in use, by driver.
    pub provisioners: Vec<ProvisionerView>,
    /// Number of objects of each kind.
    pub objects: BTreeMap<Kind, usize>,
    /// ReplicationSources and VolumeSnapshotClasses whose snapshots the API server refuses.
    pub holds: Vec<HoldView>,
    /// Why the policy that enforces holds is not in force; absent if it is.
    pub hold_policy: Option<String>,
    /// Remediations, newest first.
    pub runs: Vec<RunView>,
    /// The circuit breaker; absent while Remediations cannot be read.
    pub breaker: Breaker,
}

/// The circuit breaker.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Breaker {
    /// Number of latest runs that failed in a row.
    pub failures: u32,
    /// Whether the breaker is tripped, so that no run starts.
    pub open: bool,
}

/// The provisioner of a driver that a class names.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionerView {
    /// CSI driver.
    pub driver: SharedStr,
    /// Its workload; absent while none is found.
    pub workload: Option<ObjectKey>,
    /// Why no workload is found.
    pub problem: Option<String>,
    /// Number of running pods whose log is followed.
    pub followed: usize,
    /// Running pods whose log cannot be read.
    pub unreadable: Vec<UnreadLog>,
    /// Number of running pods whose log has not been opened yet.
    pub unopened: usize,
    /// Running pods that hold its leases; each running pod if it elects no leader.
    pub leaders: Vec<ObjectKey>,
}

/// A log that cannot be read.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadLog {
    /// The pod.
    pub pod: ObjectKey,
    /// Why it cannot be read.
    pub problem: SharedStr,
}

/// One hold.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct HoldView {
    /// The held ReplicationSource or VolumeSnapshotClass.
    pub object: ObjectKey,
    /// The SnapshotHold.
    pub hold: SharedStr,
    /// The run that made the hold; absent for a planned hold.
    pub run: Option<SharedStr>,
    /// Run or person that made the hold.
    pub by: SharedStr,
    /// Reason given by the person.
    pub reason: Option<SharedStr>,
    /// Time since which it is held.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Deadline, at which the API server ends the hold.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// One Remediation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Namespace.
    pub namespace: SharedStr,
    /// Name.
    pub name: SharedStr,
    /// Playbook.
    pub playbook: String,
    /// CSI driver.
    pub driver: SharedStr,
    /// Current phase.
    pub phase: Phase,
    /// Current step; absent if no step is running.
    pub step: Option<StepName>,
    /// Summary of the state, in one line.
    pub message: String,
    /// Creation time.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// Time its first step started.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// Time it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// Latest result of each gate.
    pub gates: Vec<GateRecord>,
    /// Steps so far, in the order they started.
    pub steps: Vec<StepView>,
    /// Planned steps that have not started, in order.
    pub upcoming: Vec<StepName>,
    /// Number of ReplicationSources it still holds.
    pub held: u32,
}

/// One step of a Remediation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Step.
    pub step: StepName,
    /// Current phase.
    pub phase: StepPhase,
    /// Time it started.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// Time it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// Time at which it fails unless its effect is seen; for resumeSources, the time at which the last hold ends.
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
    /// Result of the step, or the reason it failed, in one line.
    pub message: String,
    /// Progress while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<StepProgress>,
}

/// Takes a view of `model`.
pub fn take(model: &Model, config: &Config, settings: &DetectionSettings, now: Timestamp) -> View {
    let mut runs: Vec<_> = model
        .runs
        .iter()
        .map(|run| RunView::of(run, config))
        .collect();
    runs.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    let provisioners: Vec<_> = model
        .watched_drivers()
        .into_iter()
        .map(|driver| ProvisionerView::of(model, driver))
        .collect();
    let mut doubts = findings::doubts(model, &settings.drivers, config.mode);
    doubts.extend(provisioners.iter().flat_map(ProvisionerView::doubts));
    let (findings, forming_locks) = findings::detect_with_forming(model, settings, now);
    View {
        at: now,
        mode: config.mode,
        findings,
        forming_locks,
        freshness: model.freshness.clone(),
        doubts,
        drivers: watched(model, settings),
        provisioners,
        objects: model.object_counts(),
        holds: held(model, now),
        hold_policy: match &config.remediation.namespace {
            Some(namespace) => holds::policy::not_in_force(model, namespace),
            None => holds::policy::not_as_shipped(model),
        },
        runs,
        breaker: Breaker::of(model, config),
    }
}

fn watched(model: &Model, settings: &DetectionSettings) -> Vec<SharedStr> {
    findings::drivers_of_classes(model)
        .into_iter()
        .filter(|driver| settings.drivers.find(driver).is_some())
        .cloned()
        .collect()
}

impl ProvisionerView {
    fn of(model: &Model, driver: &SharedStr) -> Self {
        let mut view = Self {
            driver: driver.clone(),
            workload: None,
            problem: None,
            followed: 0,
            unreadable: Vec::new(),
            unopened: 0,
            leaders: Vec::new(),
        };
        let provisioner = match model.find_provisioner(driver) {
            Ok(provisioner) => provisioner,
            Err(why) => {
                view.problem = Some(why.to_string());
                return view;
            }
        };
        view.workload = Some(provisioner.workload.key());
        let running = model
            .replicas(&provisioner)
            .filter(|replica| replica.pod.running);
        let leading = running.filter(|replica| replica.leads);
        view.leaders = leading
            .map(|replica| replica.pod.meta.key(ObjectKind::Pod))
            .collect();
        // A driver without a known log is watched by Events and statuses.
        if model.discovery.drivers.log_container(driver).is_none() {
            return view;
        }
        for replica in model.replicas(&provisioner) {
            let pod = replica.pod;
            match model.logs.get(&(pod.meta.uid.clone(), driver.clone())) {
                _ if !pod.running => {}
                Some(Ok(())) => view.followed += 1,
                Some(Err(problem)) => view.unreadable.push(UnreadLog {
                    pod: pod.meta.key(ObjectKind::Pod),
                    problem: problem.clone(),
                }),
                None => view.unopened += 1,
            }
        }
        view
    }

    /// The doubt about it.
    fn doubts(&self) -> impl Iterator<Item = Doubt> {
        let doubt = |kind, message| Doubt {
            kind,
            subject: self.driver.clone(),
            message,
        };
        let not_found = self.problem.as_ref().map(|why| {
            let message = format!("provisioner not found: {why}");
            doubt(DoubtKind::ProvisionerNotFound, message)
        });
        let logs = self.unreadable.len() + self.unopened;
        let why = match self.unreadable.first() {
            Some(UnreadLog { pod, problem }) => format!("{pod}: {problem}"),
            None => "no response yet".to_owned(),
        };
        let unreadable = (logs > 0).then(|| {
            let message = format!("{logs} logs of its provisioner cannot be read: {why}");
            doubt(DoubtKind::LogUnread, message)
        });
        not_found.into_iter().chain(unreadable)
    }
}

/// Held sources by namespace and name, then held classes.
fn held(model: &Model, now: Timestamp) -> Vec<HoldView> {
    let view = |object: ObjectKey, hold: &records::SnapshotHold| HoldView {
        object,
        hold: hold.meta.name.clone(),
        run: hold.run.as_ref().map(|run| run.name.clone()),
        by: hold.holder().into(),
        reason: hold.reason.clone(),
        since: hold.meta.created.at(),
        until: hold.until,
    };
    let sources = holds::held(model, now).into_iter();
    let sources = sources.map(|held| view(held.source, held.hold));
    let active = holds::enforced(model).filter(|hold| hold.is_active(now));
    let classes = active.flat_map(|hold| {
        let classes = hold.snapshot_classes.iter();
        classes.map(move |class| {
            let object = ObjectKey {
                kind: ObjectKind::VolumeSnapshotClass,
                namespace: SharedStr::default(),
                name: class.clone(),
                uid: Uid::default(),
            };
            view(object, hold)
        })
    });
    sources.chain(classes).collect()
}

impl Breaker {
    fn of(model: &Model, config: &Config) -> Self {
        let failures = gates::failures_in_a_row(model);
        Self {
            failures,
            open: failures >= config.gates.breaker_after,
        }
    }
}

impl RunView {
    fn of(run: &records::Run, config: &Config) -> Self {
        let none = RemediationStatus::default();
        let status = run.object.status.as_ref().unwrap_or(&none);
        Self {
            namespace: run.meta.namespace.clone(),
            name: run.meta.name.clone(),
            playbook: run.object.spec.playbook.clone(),
            driver: run.object.spec.driver.clone(),
            phase: status.phase,
            step: status.step,
            message: status.message.clone(),
            created: run.meta.created.at(),
            started: status.started_at,
            finished: status.finished_at,
            gates: status.gates.clone(),
            steps: status
                .steps
                .iter()
                .map(|step| StepView::of(step, status, config))
                .collect(),
            upcoming: upcoming(status),
            held: status.held,
        }
    }

    /// Whether it only waits for a person.
    pub fn waits_for_a_person(&self) -> bool {
        gates::waits_for_a_person(&self.gates)
    }
}

/// The planned steps that the current attempt has not recorded yet.
fn upcoming(status: &RemediationStatus) -> Vec<StepName> {
    let Some(plan) = &status.plan else {
        return Vec::new();
    };
    if status.phase.finished() {
        return Vec::new();
    }
    let of_attempt = |record: &&StepRecord| record.attempt == status.attempt;
    let recorded = status.steps.iter().filter(of_attempt).count();
    let planned = plan.steps.iter().skip(recorded);
    planned.map(|planned| planned.step).collect()
}

impl StepView {
    fn of(step: &StepRecord, status: &RemediationStatus, config: &Config) -> Self {
        Self {
            step: step.step,
            phase: step.phase,
            started: step.started_at,
            finished: step.finished_at,
            deadline: deadline(step, status, &config.steps),
            message: step.message.clone(),
            progress: step.progress.clone(),
        }
    }
}

/// The end of the step's time limit, which is counted from its start.
fn deadline(step: &StepRecord, status: &RemediationStatus, limits: &Steps) -> Option<Timestamp> {
    let within = match step.step {
        StepName::SuspendSources => limits.suspend_sources.within,
        StepName::DeleteFailedSnapshots => limits.delete_failed_snapshots.within,
        StepName::DeleteOrphanedSources => limits.delete_orphaned_sources.within,
        StepName::RestartProvisioner => limits.restart_provisioner.within,
        StepName::VerifyProvisioning => limits.verify_provisioning.within,
        StepName::ResumeSources => return status.holds.iter().map(|hold| hold.until).max(),
    };
    step.started_at.checked_add(within.signed()).ok()
}

impl View {
    /// The findings that mean stuck.
    pub fn stuck(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.what.is_stuck())
    }

    /// The stuck findings of one kind, longest first.
    pub fn stuck_of(&self, kind: FindingKind) -> Vec<&Finding> {
        let mut findings: Vec<_> = self
            .stuck()
            .filter(|finding| finding.what.kind() == kind)
            .collect();
        findings.sort_by_key(|finding| finding.since);
        findings
    }

    /// The circuit breaker, unless Remediations are not observed.
    pub fn breaker(&self) -> Option<Breaker> {
        self.freshness
            .trusted(Kind::Remediations)
            .then_some(self.breaker)
    }

    /// Whether an empty list means that nothing is stuck: every watch is synced, and there is no doubt.
    pub fn is_certain(&self) -> bool {
        self.complete() && self.doubts.is_empty() && self.hold_problem().is_none()
    }

    /// Why existing holds may not be enforced.
    pub fn hold_problem(&self) -> Option<&str> {
        let problem = self.hold_policy.as_deref();
        problem.filter(|_| !self.holds.is_empty())
    }

    /// Whether every watched collection is synced.
    pub fn complete(&self) -> bool {
        self.freshness.unsynced().next().is_none()
    }
}
