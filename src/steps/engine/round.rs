//! Whether the playbook goes round again, and what the next time round is about.

use std::collections::HashSet;

use super::{Effect, Engine};
use crate::api::remediation::{RemediationStatus, StepPhase};
use crate::findings::What;
use crate::gates::{self, waits_for_a_person};
use crate::holds;
use crate::model::{ObjectKey, Sym, Uid};
use crate::plan::{Plan, Spared, StepName};

/// Why what was held, and is not, is not held again.
const LET_GO: &str = "released by somebody else during the run";

/// How many pods the provisioner is to have.
fn asks_for(plan: &Plan) -> Option<i32> {
    plan.step(StepName::RestartProvisioner)?.replicas
}

impl Engine<'_> {
    /// Whether the playbook goes round again: locks are still found, and it may.
    pub(super) fn goes_round(&self, status: &RemediationStatus) -> bool {
        let playbook = self.config.playbooks.0.get(&self.run.spec.playbook);
        let attempts = playbook.map_or(1, |playbook| playbook.attempts);
        let locked = || {
            self.findings.iter().any(|finding| {
                matches!(finding.what, What::OperationLock(_))
                    && finding.driver.as_ref() == Some(&self.run.spec.driver)
            })
        };
        status.attempt < attempts && (locked() || self.refuses_a_restore(status))
    }

    /// Whether the present leader refuses a claim that is awaited. It leads for hardly longer than a claim may take
    /// to be Bound, so that these refusals alone are never yet long enough to be a finding.
    fn refuses_a_restore(&self, status: &RemediationStatus) -> bool {
        let awaited = status
            .plan
            .as_ref()
            .and_then(|plan| plan.step(StepName::VerifyProvisioning));
        let mut claims: HashSet<Uid> = HashSet::new();
        for target in awaited.into_iter().flat_map(|step| &step.targets) {
            let object = &target.object;
            claims.insert(object.uid.clone());
            let prime = Sym::from(format!("vs-prime-{}", object.uid));
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

    /// A new plan, and the first step again; what is held stays held. Where a person has to approve, the plan is shown,
    /// and until then the verification goes on.
    pub(super) fn go_round(
        &self,
        status: &mut RemediationStatus,
        at: usize,
        message: &str,
    ) -> Option<Effect> {
        let playbook = self.config.playbooks.0.get(&self.run.spec.playbook);
        let made = playbook
            .ok_or_else(|| "its playbook is gone".to_owned())
            .and_then(|playbook| self.plan(playbook))
            .map(|plan| self.without_what_was_let_go(plan, status));
        let plan = match made {
            Ok(plan) if asks_for(&plan) == status.plan.as_ref().and_then(asks_for) => plan,
            Ok(_) => {
                let why = "somebody scaled the provisioner meanwhile; it is theirs now";
                self.fail_step(status, at, format!("{message}; {why}"));
                return None;
            }
            Err(why) => {
                self.fail_step(status, at, format!("{message}; cannot plan again: {why}"));
                return None;
            }
        };
        let gates = gates::judge_plan(&self.situation(Some(&plan), status));
        let closed = gates::closed(&gates);
        let waits = waits_for_a_person(&gates);
        gates::merge(&mut status.gates, gates);
        let end = self.patience(&status.steps[at]);
        match closed {
            None => {
                self.end(&mut status.steps[at], StepPhase::Failed, message.to_owned());
                status.plan = Some(plan);
                status.attempt += 1;
                self.start_next(status);
                None
            }
            Some(closed) if waits && self.rejected(&plan).is_none() && self.now < end => {
                status.message = format!("{message}; waits to go round again: {closed}");
                let known = status.plan.as_ref();
                if known.is_none_or(|known| known.steps != plan.steps) {
                    status.plan = Some(plan);
                }
                Some(Effect::Wait(Some(end)))
            }
            Some(closed) => {
                let message = format!("{message}; may not go round again: {closed}");
                self.fail_step(status, at, message);
                None
            }
        }
    }

    /// Whether there was something to hold this time round, and the run holds nothing of it.
    pub(super) fn nothing_is_held(&self, status: &RemediationStatus, plan: &Plan) -> bool {
        let suspended = status.steps.iter().any(|record| {
            (record.step, record.attempt, record.phase)
                == (
                    StepName::SuspendSources,
                    status.attempt,
                    StepPhase::Succeeded,
                )
        });
        let to_hold = plan.step(StepName::SuspendSources).is_some_and(|suspend| {
            let let_go = suspend.spared.iter().any(|spared| spared.why == LET_GO);
            let_go || !suspend.targets.is_empty()
        });
        suspended && to_hold && self.held().next().is_none()
    }

    /// What the run holds.
    fn held(&self) -> impl Iterator<Item = ObjectKey> {
        let held = holds::held_objects(self.model).into_iter();
        held.filter(|held| held.hold.run == self.id && held.planned)
            .map(|held| held.object)
    }

    /// What the run was to hold and does not hold by now, somebody has let go: it is theirs.
    fn without_what_was_let_go(&self, plan: Plan, status: &RemediationStatus) -> Plan {
        let before = status
            .plan
            .as_ref()
            .and_then(|plan| plan.step(StepName::SuspendSources));
        let held: HashSet<ObjectKey> = self.held().collect();
        // A plan that waits for approval is made again and again: what one of them has spared, the next one does, too.
        let long_ago = before
            .into_iter()
            .flat_map(|step| &step.spared)
            .filter(|spared| spared.why == LET_GO)
            .map(|spared| &spared.object);
        let let_go: HashSet<&ObjectKey> = before
            .into_iter()
            .flat_map(|step| &step.targets)
            .map(|target| &target.object)
            .filter(|object| !held.contains(object))
            .chain(long_ago)
            .collect();
        let mut steps = plan.steps;
        for step in &mut steps {
            if step.step != StepName::SuspendSources {
                continue;
            }
            let (gone, kept) = std::mem::take(&mut step.targets)
                .into_iter()
                .partition(|target| let_go.contains(&target.object));
            step.targets = kept;
            // Whatever else may keep it from being held by now.
            for spared in &mut step.spared {
                if let_go.contains(&spared.object) {
                    LET_GO.clone_into(&mut spared.why);
                }
            }
            step.spared.extend(gone.into_iter().map(|target| Spared {
                object: target.object,
                why: LET_GO.to_owned(),
            }));
        }
        // What the run is for, it is for in every round.
        let first = status.plan.as_ref().map(|plan| &plan.locks);
        let locks = first.filter(|locks| !locks.is_empty());
        Plan {
            locks: locks.cloned().unwrap_or(plan.locks),
            ..Plan::new(plan.driver, steps, self.now)
        }
    }
}
