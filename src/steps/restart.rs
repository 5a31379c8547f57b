//! `restartProvisioner`: replaces the pods of the provisioner, and waits until the new ones hold both leases.

mod handover;

use std::collections::HashSet;

use jiff::Timestamp;

use super::{Intent, Step, StepDecision, count, counted, deadline, some};
use crate::api::Action;
use crate::api::PlannedStep;
use crate::api::remediation::{StepProgress, StepRecord};
use crate::api::{ObjectKey, ObjectKind, Uid};
use crate::model::Provisioner;
use crate::model::records::{Lease, Pod, Workload};
use crate::run_context::RunContext;

pub(super) struct RestartProvisioner;

impl Step for RestartProvisioner {
    fn advance(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepDecision {
        let restart = match Restart::of(cx, record, step) {
            Ok(restart) => restart,
            Err(why) => return StepDecision::Failed(why),
        };
        restart.act().unwrap_or_else(|| restart.see_effect())
    }

    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress {
        match Restart::of(cx, record, step) {
            Ok(restart) => restart.progress(),
            Err(_) => StepProgress::default(),
        }
    }
}

/// The workload to restart, and the planned pods that still exist.
struct Restart<'a> {
    cx: &'a RunContext<'a>,
    record: &'a StepRecord,
    step: &'a PlannedStep,
    planned: &'a ObjectKey,
    workload: &'a Workload,
    old: HashSet<&'a Uid>,
    old_pods: Vec<&'a ObjectKey>,
}

impl<'a> Restart<'a> {
    /// The planned workload, unless somebody replaced or scaled it since.
    fn of(
        cx: &'a RunContext<'a>,
        record: &'a StepRecord,
        step: &'a PlannedStep,
    ) -> Result<Self, String> {
        let objects = || step.targets.iter().map(|target| &target.object);
        let planned = objects()
            .find(|object| !matches!(object.kind, ObjectKind::Pod | ObjectKind::Lease))
            .ok_or("the plan names no workload")?;
        let model = cx.model;
        let table = match planned.kind {
            ObjectKind::StatefulSet => &model.stateful_sets,
            ObjectKind::DaemonSet => &model.daemon_sets,
            _ => &model.deployments,
        };
        let workload = table
            .get(&planned.namespace, &planned.name)
            .filter(|workload| workload.meta.uid == planned.uid)
            .ok_or_else(|| format!("{planned} is gone or was replaced"))?;
        if let Some(replicas) = step.replicas
            && replicas != workload.replicas
        {
            return Err(format!(
                "somebody scaled {planned} from {replicas} to {} during the run; it is not restarted",
                workload.replicas
            ));
        }
        // By uid: a pod of a StatefulSet keeps its name.
        let remains = |object: &&ObjectKey| {
            let pod = model.pods.get(&object.namespace, &object.name);
            object.kind == ObjectKind::Pod && pod.is_some_and(|pod| pod.meta.uid == object.uid)
        };
        Ok(Self {
            cx,
            record,
            step,
            planned,
            workload,
            old: objects().map(|object| &object.uid).collect(),
            old_pods: objects().filter(remains).collect(),
        })
    }

    /// The next write, or `None` once all are done.
    fn act(&self) -> Option<StepDecision> {
        let Self {
            cx,
            record,
            step,
            planned,
            ..
        } = *self;
        let within = cx.config.steps.restart_provisioner.within;
        let targets = || step.targets.iter();
        let unrecorded = [handover::unrecorded_leases(self), self.unrecorded_pods()].concat();
        if !unrecorded.is_empty() {
            return Some(StepDecision::CollectEvidence(unrecorded));
        }
        if let Some(rollout) = targets().find(|target| target.action == Action::Rollout) {
            let token = cx.token(record);
            let asked = self.workload.restarted_by.as_deref() == Some(&*token);
            match (asked, record.acted_at) {
                (false, None) if cx.overdue(record, within) => {
                    return Some(StepDecision::Failed(format!(
                        "failed to start a rollout of {planned} within {within}"
                    )));
                }
                (false, None) => {
                    return Some(StepDecision::Act(vec![Intent::Rollout {
                        object: rollout.object.clone(),
                        token,
                    }]));
                }
                (true, None) => return Some(self.note_acted()),
                (false, Some(_)) if self.still_running().next().is_some() => {
                    return Some(StepDecision::Failed(format!(
                        "the rollout of {planned} was reverted by another controller"
                    )));
                }
                _ => {}
            }
        }
        let is_going = |object: &ObjectKey| {
            let pod = cx.model.pods.get(&object.namespace, &object.name);
            pod.is_none_or(|pod| pod.meta.deleting.is_some())
        };
        let replace: Vec<Intent> = targets()
            .filter(|target| target.action == Action::Replace)
            .map(|target| &target.object)
            .filter(|object| self.old_pods.contains(object) && !is_going(object))
            .map(|object| Intent::Replace(object.clone()))
            .collect();
        if !replace.is_empty() && !cx.overdue(record, within) {
            return Some(StepDecision::Act(replace));
        }
        (record.acted_at.is_none() && replace.is_empty()).then(|| self.note_acted())
    }

    /// The pods to replace that are not recorded as evidence yet: once they are gone, nothing shows what ran.
    fn unrecorded_pods(&self) -> Vec<ObjectKey> {
        if self.record.acted_at.is_some() {
            return Vec::new();
        }
        let recorded: HashSet<&Uid> = self
            .cx
            .status()
            .evidence
            .iter()
            .map(|evidence| &evidence.object.uid)
            .collect();
        let remaining = self.old_pods.iter().copied();
        remaining
            .filter(|object| !recorded.contains(&object.uid))
            .cloned()
            .collect()
    }

    fn note_acted(&self) -> StepDecision {
        StepDecision::Note(StepRecord {
            acted_at: Some(self.cx.now),
            ..self.record.clone()
        })
    }

    fn see_effect(&self) -> StepDecision {
        let (cx, record, planned) = (self.cx, self.record, self.planned);
        let within = cx.config.steps.restart_provisioner.within;
        let mut running = self.still_running().peekable();
        let missing = if running.peek().is_some() {
            format!("{} did not end", some(running))
        } else if let Some(replaced_at) = record.replaced_at {
            let Some(missing) = self.missing(replaced_at) else {
                let pods = count(self.wanted(), "pod");
                let message = format!("{pods} of {planned} new and Ready, leases taken over");
                return StepDecision::Done(message, Vec::new());
            };
            if let Some(next) = handover::hand_over(self, replaced_at)
                && !cx.overdue(record, within)
            {
                return next;
            }
            missing
        } else {
            return StepDecision::Note(StepRecord {
                replaced_at: Some(cx.now),
                ..record.clone()
            });
        };
        if cx.overdue(record, within) {
            let message = format!("{missing} within {within} of the restart of {planned}");
            return StepDecision::Failed(message);
        }
        StepDecision::Wait(deadline(record, within))
    }

    /// The old pods whose processes may still run, as far as the API server shows: those that exist, unless their node has
    /// reported a terminal phase. The kubelet does so before it removes the object, and starts no container after it.
    fn still_running(&self) -> impl Iterator<Item = &'a ObjectKey> {
        let pods = self.old_pods.iter().copied();
        pods.filter(|object| self.old_pod(&object.uid).is_some_and(|pod| !pod.is_over()))
    }

    /// The old pod of this uid, while its object exists.
    fn old_pod(&self, uid: &Uid) -> Option<&'a Pod> {
        let object = self.old_pods.iter().find(|object| object.uid == *uid)?;
        self.cx.model.pods.get(&object.namespace, &object.name)
    }

    /// The number of pods that the workload wants.
    fn wanted(&self) -> usize {
        usize::try_from(self.workload.replicas).unwrap_or(0)
    }

    /// The condition that the cluster does not show yet, after every old pod had ended at `replaced_at`; `None` when the restart is
    /// complete.
    fn missing(&self, replaced_at: Timestamp) -> Option<String> {
        let model = self.cx.model;
        let provisioner = model.provisioner_of(self.workload, self.driver());
        for lease in provisioner.leases() {
            if !self.taken_over(&provisioner, lease, replaced_at) {
                return Some(format!(
                    "no new pod took over the lease {}/{}",
                    lease.namespace, lease.name
                ));
            }
        }
        let (ready, wanted) = (self.ready(), self.wanted());
        (ready < wanted).then(|| format!("only {ready} of {wanted} new pods are Ready"))
    }

    /// Whether a new process holds the lease.
    ///
    /// An identity that is a pod's own proves it by the pod's uid. One that the new pod shares with the old one (a node's
    /// host name, a name given by a StatefulSet), and a random one, prove it by time: client-go sets `acquireTime`
    /// when the holder changes, and no old pod renews a lease after all of them had ended.
    fn taken_over(&self, of: &Provisioner<'_>, lease: &Lease, replaced_at: Timestamp) -> bool {
        if !lease.held(self.cx.now) {
            return false;
        }
        let restarted_at = self.record.acted_at.unwrap_or(replaced_at);
        let acquired = lease.acquired.is_some_and(|at| at > restarted_at);
        let renewed = lease.renewed.is_some_and(|at| at > replaced_at);
        let holders = self.cx.model.holders(of, lease);
        let new = holders
            .iter()
            .all(|pod| !self.old.contains(&pod.meta.uid) && pod.meta.deleting.is_none());
        if holders.is_empty() {
            // The answer to the write may be late, and `acted_at` with it: new pods may hold the lease by then.
            let started_at = self.record.started_at;
            lease.acquired.is_some_and(|at| at > started_at) && renewed
        } else {
            new && (acquired || renewed)
        }
    }

    /// New pods that are Ready and leases that are taken over, of those the workload is to have.
    fn progress(&self) -> StepProgress {
        let model = self.cx.model;
        let provisioner = model.provisioner_of(self.workload, self.driver());
        let leases: Vec<_> = provisioner.leases().collect();
        let wanted = self.wanted();
        let (mut done, mut waiting_for) = (0, None);
        let mut running = self.still_running().peekable();
        if running.peek().is_some() {
            waiting_for = Some(format!("{} to end", some(running)));
        }
        if let Some(replaced_at) = self.record.replaced_at {
            let ready = self.ready().min(wanted);
            let (taken, open): (Vec<&Lease>, Vec<&Lease>) = leases
                .iter()
                .partition(|lease| self.taken_over(&provisioner, lease, replaced_at));
            done = ready + taken.len();
            waiting_for = waiting_for.or_else(|| {
                let lease = open.first().map(|lease| {
                    format!("lease {}/{} to be taken over", lease.namespace, lease.name)
                });
                let pods = (ready < wanted)
                    .then(|| format!("{} to be Ready", count(wanted - ready, "new pod")));
                pods.or(lease)
            });
        }
        let within = self.cx.config.steps.restart_provisioner.within;
        let waiting_for = waiting_for.unwrap_or_default();
        counted(
            self.record,
            within,
            done,
            wanted + leases.len(),
            waiting_for,
        )
    }

    /// The number of new pods that are Ready.
    fn ready(&self) -> usize {
        let model = self.cx.model;
        let ready = model
            .pods
            .iter()
            .filter(|pod| pod.ready && pod.meta.deleting.is_none());
        ready
            .filter(|pod| !self.old.contains(&pod.meta.uid) && model.belongs(pod, self.workload))
            .count()
    }

    fn driver(&self) -> &'a str {
        let plan = self.cx.plan;
        plan.map_or("", |plan| &plan.driver)
    }
}
