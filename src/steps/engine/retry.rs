//! Decides whether a run makes another attempt, and plans it.

use std::collections::HashSet;

use super::Effect;
use crate::api::remediation::{RemediationStatus, StepPhase};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::api::{Plan, PlannedStep, SkipReason, Skipped, StepName};
use crate::findings::FindingReason;
use crate::gates::{self, waits_for_a_person};
use crate::holds;
use crate::model::records::SnapshotHold;
use crate::run_context::RunContext;

/// Number of pods that the provisioner has after the restart, if the plan sets it.
fn planned_replicas(plan: &Plan) -> Option<i32> {
    plan.step(StepName::RestartProvisioner)?.replicas
}

impl RunContext<'_> {
    /// Whether to make another attempt: locks are still found, and `attempts` allows it.
    pub(super) fn should_retry(&self, status: &RemediationStatus) -> bool {
        let playbook = self.config.playbooks.0.get(&self.run.spec.playbook);
        let attempts = playbook.map_or(1, |playbook| playbook.attempts);
        let locked = || {
            self.findings.iter().any(|finding| {
                matches!(finding.what, FindingReason::OperationLock(_))
                    && finding.driver.as_ref() == Some(&self.run.spec.driver)
            })
        };
        status.attempt < attempts && (locked() || self.refuses_awaited_claim(status))
    }

    /// Whether the current leader refuses an awaited claim. It took over minutes ago, so its refusals are too recent for an
    /// operation lock finding.
    fn refuses_awaited_claim(&self, status: &RemediationStatus) -> bool {
        let awaited = status
            .plan
            .as_ref()
            .and_then(|plan| plan.step(StepName::VerifyProvisioning));
        let mut claims: HashSet<Uid> = HashSet::new();
        for target in awaited.into_iter().flat_map(|step| &step.targets) {
            let object = &target.object;
            claims.insert(object.uid.clone());
            let prime = SharedStr::from(format!("vs-prime-{}", object.uid));
            let prime = self.model.claims.get(&object.namespace, &prime);
            claims.extend(prime.map(|prime| prime.meta.uid.clone()));
        }
        let driver = &self.run.spec.driver;
        let provisioner = self.model.provisioner(driver);
        let acquired = provisioner.and_then(|provisioner| provisioner.acquired());
        self.model.refusals.iter().any(|(of, key, seen)| {
            of == driver
                && key
                    .claim()
                    .is_some_and(|uid| claims.iter().any(|claim| claim.is_meant_by(uid)))
                && seen.values().any(|seen| {
                    seen.goes_on(self.now) && acquired.is_none_or(|acquired| seen.last >= acquired)
                })
        })
    }

    /// Makes a new plan and starts its first step; held sources stay held. If a person has to approve, the plan is shown,
    /// and the verification continues until that decision.
    pub(super) fn retry(
        &self,
        status: &mut RemediationStatus,
        at: usize,
        message: &str,
    ) -> Option<Effect> {
        let playbook = self.config.playbooks.0.get(&self.run.spec.playbook);
        let made = playbook
            .ok_or_else(|| "its playbook is no longer in the configuration".to_owned())
            .and_then(|playbook| self.make_plan(playbook))
            .map(|plan| self.without_released_sources(plan, status));
        let plan = match made {
            Ok(plan)
                if planned_replicas(&plan) == status.plan.as_ref().and_then(planned_replicas) =>
            {
                plan
            }
            Ok(_) => {
                let why = "somebody scaled the provisioner during the run; it is not restarted";
                self.fail_step(status, at, format!("{message}; {why}"));
                return None;
            }
            Err(why) => {
                self.fail_step(status, at, format!("{message}; cannot plan again: {why}"));
                return None;
            }
        };
        let gates = gates::judge_plan(&self.with_plan(Some(&plan)));
        let closed = gates::closed(&gates);
        let waits = waits_for_a_person(&gates);
        gates::merge(&mut status.gates, gates);
        let end = self.gate_deadline(&status.steps[at]);
        match closed {
            None => {
                self.end(&mut status.steps[at], StepPhase::Failed, message.to_owned());
                status.plan = Some(plan);
                status.attempt += 1;
                self.start_next(status);
                None
            }
            Some(closed) if waits && self.rejected(&plan).is_none() && self.now < end => {
                status.message = format!("{message}; the next attempt waits: {closed}");
                let known = status.plan.as_ref();
                if known.is_none_or(|known| known.steps != plan.steps) {
                    status.plan = Some(plan);
                }
                Some(Effect::Wait(Some(end)))
            }
            Some(closed) => {
                let message = format!("{message}; no further attempt: {closed}");
                self.fail_step(status, at, message);
                None
            }
        }
    }

    /// Whether this attempt had something to hold, and the run holds nothing of it.
    pub(super) fn nothing_is_held(&self, status: &RemediationStatus, plan: &Plan) -> bool {
        let suspended = status.steps.iter().any(|record| {
            (record.step, record.attempt, record.phase)
                == (
                    StepName::SuspendSources,
                    status.attempt,
                    StepPhase::Succeeded,
                )
        });
        let acted = status
            .steps
            .iter()
            .any(|record| record.step == StepName::SuspendSources && record.acted_at.is_some());
        // A step that found none of its sources has not acted, and there was nothing to hold.
        let to_hold = plan.step(StepName::SuspendSources).is_some_and(|suspend| {
            (suspend.holds() && acted)
                || suspend
                    .skipped
                    .iter()
                    .any(|skipped| skipped.reason == SkipReason::Released)
        });
        let hold = holds::of_run(self.model, &self.id, self.now);
        let is_empty =
            |hold: &SnapshotHold| hold.sources.is_empty() && hold.snapshot_classes.is_empty();
        suspended && to_hold && hold.is_none_or(is_empty)
    }

    /// The plan without the sources that somebody released during the run.
    fn without_released_sources(&self, plan: Plan, status: &RemediationStatus) -> Plan {
        let before = status
            .plan
            .as_ref()
            .and_then(|plan| plan.step(StepName::SuspendSources));
        let ours = holds::of_run(self.model, &self.id, self.now);
        let held: HashSet<(&SharedStr, &SharedStr)> = ours
            .into_iter()
            .flat_map(|hold| hold.sources.values())
            .map(|(namespace, name)| (namespace, name))
            .collect();
        // A plan that waits for approval is made repeatedly: each skips what the one before it skipped.
        let released_before = before
            .into_iter()
            .flat_map(|step| &step.skipped)
            .filter(|skipped| skipped.reason == SkipReason::Released)
            .map(|skipped| (&skipped.object.namespace, &skipped.object.name));
        let released: HashSet<(&SharedStr, &SharedStr)> = before
            .into_iter()
            .flat_map(PlannedStep::held_sources)
            .filter(|source| !held.contains(source))
            .chain(released_before)
            .collect();
        let mut steps = plan.steps;
        let suspend = steps
            .iter_mut()
            .filter(|step| step.step == StepName::SuspendSources);
        for step in suspend {
            let mut gone = Vec::new();
            for (namespace, names) in &mut step.sources {
                names.retain(|name| {
                    let keep = !released.contains(&(namespace, name));
                    if !keep {
                        gone.push((namespace.clone(), name.clone()));
                    }
                    keep
                });
            }
            step.sources.retain(|_, names| !names.is_empty());
            step.skipped
                .extend(gone.into_iter().map(|(namespace, name)| {
                    let source = self.model.sources.get(&namespace, &name);
                    let uid = source.map(|source| source.meta.uid.clone());
                    let object = ObjectKey {
                        kind: ObjectKind::ReplicationSource,
                        namespace,
                        name,
                        uid: uid.unwrap_or_default(),
                    };
                    Skipped::new(object, SkipReason::Released)
                }));
        }
        // The locks that the run is about are the same in every attempt.
        let first = status.plan.as_ref().map(|plan| &plan.locks);
        let locks = first.filter(|locks| !locks.is_empty());
        Plan {
            locks: locks.cloned().unwrap_or(plan.locks),
            ..Plan::new(plan.driver, steps, self.now)
        }
    }
}
