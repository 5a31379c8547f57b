//! Explains one object from the view and the model. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::plan::Planned;
use super::subject::Subject;
use crate::api::remediation::{GateRecord, Phase};
use crate::api::{Action, Plan, PlannedStep, StepName};
use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr};
use crate::config::{Config, Playbook};
use crate::findings::{Finding, FindingReason};
use crate::gates::GateName;
use crate::model::Model;
use crate::state::view::{ProvisionerView, View};
use crate::text::humanize;

/// One object explained.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The object; `None` for a lock.
    pub object: Option<ObjectKey>,
    /// The lock it waits for, or the one to explain.
    pub lock: Option<LockKey>,
    /// Its state in one line, if it is not stuck.
    pub state: String,
    /// Findings about it: its own first, then those of objects between it and the cause.
    pub findings: Vec<Finding>,
    /// The provisioner of its driver.
    pub provisioner: Option<ProvisionerView>,
    /// The run that would repair it.
    pub run: Option<WouldDo>,
    /// The next command.
    pub next: Option<String>,
    /// Whether a collection could not be read, so that a finding may be missing.
    pub uncertain: bool,
}

/// How a run would treat the object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WouldDo {
    /// Playbook.
    pub playbook: String,
    /// CSI driver.
    pub driver: SharedStr,
    /// Planned changes to the object or the provisioner, by step.
    pub steps: Vec<(StepName, String)>,
    /// Why there is no plan.
    pub error: Option<String>,
    /// Gates that are closed now.
    pub closed: Vec<GateRecord>,
}

impl Explanation {
    /// Returns `None` if no object or lock of that name is known.
    pub fn of(
        model: &Model,
        view: &View,
        subject: &Subject,
        namespace: &str,
        config: &Config,
        now: Timestamp,
    ) -> Option<Self> {
        let object = subject.find(model, namespace);
        let (findings, state, lock) = match (subject, &object) {
            (Subject::Lock(key), _) => {
                let findings = of_lock(view, key);
                (!findings.is_empty()).then_some(())?;
                let lock = Some(LockKey(key.as_str().into()));
                (findings, String::new(), lock)
            }
            (Subject::Object(..), None) => return None,
            (Subject::Object(..), Some(object)) => {
                let findings = of_object(view, object);
                let lock = findings.iter().find_map(lock_of);
                (findings, state(model, view, object, config, now), lock)
            }
        };
        let driver = findings.iter().find_map(|finding| finding.driver.clone());
        let provisioner = view
            .provisioners
            .iter()
            .find(|it| Some(&it.driver) == driver.as_ref());
        Some(Self {
            object,
            lock,
            state,
            findings,
            provisioner: provisioner.cloned(),
            run: None,
            next: None,
            uncertain: !view.is_certain(),
        })
    }

    /// 1 if it is stuck, else 2 if a finding may be missing, else 0.
    pub fn exit_code(&self) -> u8 {
        match (self.findings.is_empty(), self.uncertain) {
            (false, _) => 1,
            (true, true) => super::super::FAILED,
            (true, false) => 0,
        }
    }

    /// Adds the changes of `planned`, and the next command.
    pub fn add_run(&mut self, planned: Planned, view: &View) {
        let steps = planned.plan.as_ref().map(|plan| self.steps(plan));
        let closed: Vec<_> = planned.gates.into_iter().filter(|it| !it.open).collect();
        let driver = &planned.driver;
        let mut open = view.runs.iter().filter(|run| !run.phase.finished());
        let under_way = open.find(|run| run.driver == *driver);
        self.next = Some(match under_way {
            Some(run) if run.phase == Phase::Pending && waits_for_approval(&run.gates) => {
                format!("locksmith approve {}", run.name)
            }
            Some(run) => format!("locksmith describe {}", run.name),
            None if planned.plan.is_some() && closed.is_empty() => {
                format!("locksmith run {} --driver {driver}", planned.playbook)
            }
            None => format!("locksmith plan {} --driver {driver}", planned.playbook),
        });
        self.run = Some(WouldDo {
            playbook: planned.playbook,
            driver: planned.driver,
            steps: steps.unwrap_or_default(),
            error: planned.error,
            closed,
        });
    }

    /// The objects between this one and the cause, itself among them.
    pub fn path(&self) -> Vec<&ObjectKey> {
        let chained = self.findings.iter();
        let chained = chained.flat_map(|finding| finding.object.iter().chain(&finding.chain));
        let mut path: Vec<_> = self.object.iter().chain(chained).collect();
        path.sort_by_key(|object| rank(object.kind));
        let mut seen = std::collections::BTreeSet::new();
        path.retain(|object| seen.insert(*object));
        path
    }

    fn steps(&self, plan: &Plan) -> Vec<(StepName, String)> {
        let path = self.path();
        plan.steps
            .iter()
            .flat_map(|step| {
                let lines = of_step(step, &path);
                lines.into_iter().map(|line| (step.step, line))
            })
            .collect()
    }
}

/// The playbook that would repair the findings, and its driver.
pub fn playbook_for<'c>(
    explanation: &Explanation,
    config: &'c Config,
) -> Option<(&'c String, &'c Playbook, SharedStr)> {
    let first = explanation.findings.first()?;
    let driver = explanation
        .findings
        .iter()
        .find_map(|it| it.driver.clone())?;
    let wanted = match &first.what {
        FindingReason::OrphanedSource(_) => StepName::DeleteOrphanedSources,
        FindingReason::FailedSnapshot(_) if explanation.lock.is_none() => {
            StepName::DeleteFailedSnapshots
        }
        _ => StepName::RestartProvisioner,
    };
    let playbooks = config.playbooks.0.iter();
    let having = playbooks.filter(|(_, playbook)| playbook.steps.contains(&wanted));
    // The one with the fewest other steps.
    let (name, playbook) = having.min_by_key(|(_, playbook)| playbook.steps.len())?;
    Some((name, playbook, driver))
}

fn waits_for_approval(gates: &[GateRecord]) -> bool {
    gates
        .iter()
        .any(|gate| GateName::Approval.is_of(gate) && !gate.open)
}

/// How `step` changes the objects of `path`; a restart affects every object.
fn of_step(step: &PlannedStep, path: &[&ObjectKey]) -> Vec<String> {
    let mut lines = Vec::new();
    for object in path {
        let names = step.sources.get(&object.namespace);
        if object.kind == ObjectKind::ReplicationSource
            && names.is_some_and(|names| names.contains(&object.name))
        {
            lines.push(format!("holds {}", humanize::place(object)));
        }
    }
    for target in &step.targets {
        let on_path = path.iter().any(|object| **object == target.object);
        // A restart affects every object; its old pods are only watched.
        let restarts = step.step == StepName::RestartProvisioner && target.action != Action::Await;
        if on_path || restarts {
            lines.push(act(target.action, &humanize::place(&target.object)));
        }
    }
    for skipped in &step.skipped {
        if path.iter().any(|object| **object == skipped.object) {
            let place = humanize::place(&skipped.object);
            lines.push(format!("skips {place}: {}", skipped.message));
        }
    }
    lines
}

fn act(action: Action, place: &str) -> String {
    match action {
        Action::Delete => {
            format!("records {place} as evidence and deletes it, if it is still failed or orphaned")
        }
        Action::Rollout => format!("rolls out new pods of {place}"),
        Action::Replace => format!("deletes {place}, which its controller replaces"),
        Action::Touch => format!("annotates {place} if its deletion hangs"),
        Action::HandOver => format!("clears the holder of {place} once no old pod can run"),
        Action::Await => format!("waits for {place}"),
    }
}

/// Order from the object that requests to the one that is refused.
fn rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::ReplicationSource => 0,
        ObjectKind::PersistentVolumeClaim => 1,
        ObjectKind::VolumeSnapshot => 2,
        ObjectKind::VolumeSnapshotContent => 3,
        _ => 4,
    }
}

fn lock_of(finding: &Finding) -> Option<LockKey> {
    match &finding.what {
        FindingReason::OperationLock(key) => Some(key.clone()),
        _ => None,
    }
}

fn concerns(finding: &Finding, object: &ObjectKey) -> bool {
    finding.object.as_ref() == Some(object) || finding.chain.contains(object)
}

/// The findings about `object`, its own first, and the locks behind them.
fn of_object(view: &View, object: &ObjectKey) -> Vec<Finding> {
    let is_lock = |finding: &&Finding| matches!(finding.what, FindingReason::OperationLock(_));
    let mut found: Vec<&Finding> = view
        .stuck()
        .filter(|finding| !is_lock(finding) && concerns(finding, object))
        .collect();
    found.sort_by_key(|finding| (finding.object.as_ref() != Some(object), finding.since));
    let path: Vec<_> = found
        .iter()
        .flat_map(|finding| finding.object.iter().chain(&finding.chain))
        .chain([object])
        .collect();
    let locks = view.stuck().filter(is_lock);
    let waited: Vec<_> = locks
        .filter(|lock| lock.object.as_ref().is_some_and(|it| path.contains(&it)))
        .collect();
    found.into_iter().chain(waited).cloned().collect()
}

/// The lock of that key, and what waits for it.
fn of_lock(view: &View, key: &str) -> Vec<Finding> {
    let (locks, others): (Vec<&Finding>, Vec<_>) = view
        .stuck()
        .partition(|finding| matches!(finding.what, FindingReason::OperationLock(_)));
    let ours: Vec<_> = locks
        .into_iter()
        .filter(|finding| lock_of(finding).is_some_and(|it| *it.0 == *key))
        .collect();
    let waiters: Vec<_> = ours
        .iter()
        .filter_map(|lock| lock.object.as_ref())
        .collect();
    let waiting = others
        .into_iter()
        .filter(|finding| waiters.iter().any(|waiter| concerns(finding, waiter)));
    ours.iter().copied().chain(waiting).cloned().collect()
}

/// The state of an object that is not stuck.
fn state(
    model: &Model,
    view: &View,
    object: &ObjectKey,
    config: &Config,
    now: Timestamp,
) -> String {
    let (namespace, name) = (&object.namespace, &object.name);
    let text = match object.kind {
        ObjectKind::PersistentVolumeClaim => {
            let claim = model.claims.get(namespace, name);
            let pending = claim.filter(|it| it.phase == crate::model::records::ClaimPhase::Pending);
            match pending {
                Some(claim) => {
                    let after = config.detect.pending_after;
                    not_yet("Pending", claim.meta.created.at(), after.signed(), now)
                        + " (detect.pendingAfter)"
                }
                None => "is not Pending".to_owned(),
            }
        }
        ObjectKind::VolumeSnapshot => match model.snapshots.get(namespace, name) {
            Some(snapshot) if snapshot.ready != Some(true) => {
                let after = config.detect.failed_after;
                not_yet("not ready", snapshot.meta.created.at(), after.signed(), now)
                    + " (detect.failedAfter)"
            }
            _ => "is ready".to_owned(),
        },
        ObjectKind::ReplicationSource => {
            let source = model.sources.get(namespace, name);
            match source.and_then(|source| source.syncing) {
                Some(since) => format!("has been synchronising for {}", humanize::span(since, now)),
                None => "is not synchronising".to_owned(),
            }
        }
        _ => String::new(),
    };
    let hold = view.holds.iter().find(|hold| hold.object == *object);
    match hold {
        Some(hold) => format!("{text}; held by {} until {:.0}", hold.by, hold.until),
        None => text,
    }
}

fn not_yet(state: &str, since: Timestamp, after: SignedDuration, now: Timestamp) -> String {
    let due = since.checked_add(after).unwrap_or(now);
    let (so_long, after) = (humanize::span(since, now), humanize::span(since, due));
    format!(
        "has been {state} for {so_long}; counts as stuck after {after} if the driver is watched"
    )
}
