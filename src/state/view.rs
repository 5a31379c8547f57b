//! What readers get: one immutable [`View`] of what the detectors saw. Pure.
//!
//! Metrics, the API and the command line all read the same one, and never the model itself: its size is that of
//! what is stuck, not of the cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::StepName;
use crate::api::remediation::{GateRecord, Phase, RemediationStatus, StepPhase, StepRecord};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::config::{Config, Mode};
use crate::findings::{self, Doubt, DoubtKind, Finding, FindingKind, Policy};
use crate::gates;
use crate::holds;
use crate::model::{Freshness, Kind, Model, records};

/// The cluster as last seen.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// When it was taken.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How far the program may go.
    pub mode: Mode,
    /// Everything stuck, and everything held.
    pub findings: Vec<Finding>,
    /// How far it can be trusted.
    pub freshness: Freshness,
    /// Why something may be stuck that is not found. While there is any, nobody says that nothing is.
    pub doubts: Vec<Doubt>,
    /// The CSI drivers in use that are watched.
    pub drivers: Vec<SharedStr>,
    /// The provisioners of the drivers in use, by driver.
    pub provisioners: Vec<ProvisionerView>,
    /// How many objects of each kind are known.
    pub objects: BTreeMap<Kind, usize>,
    /// Every source, and every VolumeSnapshotClass, of which the API server refuses snapshots.
    pub holds: Vec<HoldView>,
    /// Why no hold would be in force, where the policy that enforces them is not as it must be.
    pub hold_policy: Option<String>,
    /// Remediations, newest first.
    pub runs: Vec<RunView>,
    /// The circuit breaker, as far as Remediations are seen.
    pub breaker: Breaker,
}

/// The circuit breaker.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Breaker {
    /// Runs that failed in a row, up to now.
    pub failures: u32,
    /// Whether these are too many for another to begin.
    pub open: bool,
}

/// The provisioner of a driver that a class names.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionerView {
    /// CSI driver.
    pub driver: SharedStr,
    /// The workload that serves it; `None` while none is found.
    pub workload: Option<ObjectKey>,
    /// Why none is found.
    pub problem: Option<String>,
    /// Running pods whose log is followed.
    pub followed: usize,
    /// Running pods whose log cannot be read.
    pub unreadable: Vec<UnreadLog>,
    /// Running pods whose log has not been opened yet.
    pub unopened: usize,
}

/// A log that cannot be read.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadLog {
    /// The pod.
    pub pod: ObjectKey,
    /// Why not.
    pub problem: SharedStr,
}

/// One hold.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct HoldView {
    /// The held ReplicationSource or VolumeSnapshotClass.
    pub object: ObjectKey,
    /// The SnapshotHold.
    pub hold: SharedStr,
    /// The run that holds it; none for a planned hold.
    pub run: Option<SharedStr>,
    /// Who holds it: the run, or the person.
    pub by: SharedStr,
    /// Why, as the person said.
    pub reason: Option<SharedStr>,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When the API server ends it.
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
    /// How far it has come.
    pub phase: Phase,
    /// The step under way.
    pub step: Option<StepName>,
    /// One line for people.
    pub message: String,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// When its first step began.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// What each gate last said.
    pub gates: Vec<GateRecord>,
    /// Each step so far, in the order they began.
    pub steps: Vec<StepView>,
    /// Number of ReplicationSources it still holds.
    pub held: u32,
}

/// One step of a Remediation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Step.
    pub step: StepName,
    /// How far it has come.
    pub phase: StepPhase,
    /// When it began.
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished: Option<Timestamp>,
    /// One line for people: what was done, or why not.
    pub message: String,
}

/// Takes a view of `model`.
pub fn take(model: &Model, config: &Config, policy: &Policy, now: Timestamp) -> View {
    let mut runs: Vec<_> = model.runs.iter().map(RunView::of).collect();
    runs.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    let provisioners: Vec<_> = model
        .drivers_in_use()
        .into_iter()
        .map(|driver| ProvisionerView::of(model, driver))
        .collect();
    let mut doubts = findings::doubts(model, &policy.drivers, config.mode);
    doubts.extend(provisioners.iter().flat_map(ProvisionerView::doubts));
    View {
        at: now,
        mode: config.mode,
        findings: findings::detect(model, policy, now),
        freshness: model.freshness.clone(),
        doubts,
        drivers: watched(model, policy),
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

fn watched(model: &Model, policy: &Policy) -> Vec<SharedStr> {
    findings::in_use(model)
        .into_iter()
        .filter(|driver| policy.drivers.find(driver).is_some())
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
        };
        let provisioner = match model.find_provisioner(driver) {
            Ok(provisioner) => provisioner,
            Err(why) => {
                view.problem = Some(why.to_string());
                return view;
            }
        };
        view.workload = Some(provisioner.workload.key());
        // Of a driver of which no log is known, Events and statuses tell.
        let entry = model.discovery.drivers.find(driver);
        if entry.is_none_or(|entry| entry.log_container(driver).is_none()) {
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

    /// What is not known of it.
    fn doubts(&self) -> impl Iterator<Item = Doubt> {
        let doubt = |kind, message| Doubt {
            kind,
            subject: self.driver.clone(),
            message,
        };
        let not_found = self.problem.as_ref().map(|why| {
            let message =
                format!("its provisioner is not found: {why}; name it in drivers[].provisioner");
            doubt(DoubtKind::ProvisionerNotFound, message)
        });
        let logs = self.unreadable.len() + self.unopened;
        let why = match self.unreadable.first() {
            Some(UnreadLog { pod, problem }) => format!("{pod}: {problem}"),
            None => "no answer yet".to_owned(),
        };
        let unreadable = (logs > 0).then(|| {
            let message = format!("{logs} logs of its provisioner are not read: {why}");
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
    fn of(run: &records::Run) -> Self {
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
            steps: status.steps.iter().map(StepView::of).collect(),
            held: status.held,
        }
    }

    /// Whether it waits for a person and for nothing else.
    pub fn waits_for_a_person(&self) -> bool {
        gates::waits_for_a_person(&self.gates)
    }
}

impl StepView {
    fn of(step: &StepRecord) -> Self {
        Self {
            step: step.step,
            phase: step.phase,
            started: step.started_at,
            finished: step.finished_at,
            message: step.message.clone(),
        }
    }
}

impl View {
    /// The stuck ones among the findings.
    pub fn stuck(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.what.is_stuck())
    }

    /// The stuck ones of one kind, those that have been for longest first.
    pub fn stuck_of(&self, kind: FindingKind) -> Vec<&Finding> {
        let mut findings: Vec<_> = self
            .stuck()
            .filter(|finding| finding.what.kind() == kind)
            .collect();
        findings.sort_by_key(|finding| finding.since);
        findings
    }

    /// The circuit breaker, unless what it counts is not seen.
    pub fn breaker(&self) -> Option<Breaker> {
        self.freshness
            .trusted(Kind::Remediations)
            .then_some(self.breaker)
    }

    /// Whether "nothing is stuck" can be said where nothing is: all that is watched has been seen, and there is no doubt.
    pub fn is_certain(&self) -> bool {
        self.complete() && self.doubts.is_empty() && self.hold_problem().is_none()
    }

    /// Why the holds that there are may not be in force.
    pub fn hold_problem(&self) -> Option<&str> {
        let problem = self.hold_policy.as_deref();
        problem.filter(|_| !self.holds.is_empty())
    }

    /// Whether everything that is watched has been seen.
    pub fn complete(&self) -> bool {
        self.freshness.unsynced().next().is_none()
    }
}
