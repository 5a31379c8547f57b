//! Plans a Pending Remediation, and starts its first step once every gate is open.

use super::Effect;
use crate::api::Plan;
use crate::api::SharedStr;
use crate::api::remediation::{Decision, Phase, RemediationStatus};
use crate::config::{Mode, Playbook};
use crate::gates::{self, GateName};
use crate::plan;
use crate::run_context::RunContext;
use crate::steps::count;

impl RunContext<'_> {
    /// Makes the plan, and starts once every gate is open.
    pub(super) fn begin(&self, status: &mut RemediationStatus) -> Option<Effect> {
        if self.run.spec.abort {
            self.finish(
                status,
                Phase::Aborted,
                "aborted before it started".to_owned(),
            );
            return None;
        }
        if self.is_withdrawn() {
            let message = "its alerts were resolved or silenced before it started".to_owned();
            self.finish(status, Phase::Aborted, message);
            return None;
        }
        let Some(playbook) = self.config.playbooks.0.get(&self.run.spec.playbook) else {
            let message = format!("there is no playbook called {}", self.run.spec.playbook);
            self.finish(status, Phase::Failed, message);
            return None;
        };
        let made = self.make_plan(playbook);
        status.gates = gates::judge_all(&self.with_plan(made.as_ref().ok()));
        let plan = match made {
            Ok(plan) => plan,
            Err(why) if self.observed() => {
                self.finish(status, Phase::Failed, why);
                return None;
            }
            Err(why) => {
                status.message = why;
                return self.give_up_late(status);
            }
        };
        // Replace the plan even if only skipped objects changed: the hash ignores them, but the verdict reads them.
        let known = status.plan.as_ref();
        let has_changed = |known: &Plan| {
            // The set of locks changes all the time; the outcome depends on whether there were any.
            known.steps != plan.steps || known.locks.is_empty() != plan.locks.is_empty()
        };
        if known.is_none_or(has_changed) {
            status.plan = Some(plan);
        }
        if let Some(by) = status.plan.as_ref().and_then(|plan| self.rejected(plan)) {
            self.finish(
                status,
                Phase::Aborted,
                format!("the plan was rejected by {by}"),
            );
            return None;
        }
        let closed = gates::closed(&status.gates);
        let plan = status.plan.as_ref();
        let idle = plan.and_then(|plan| repairs_nothing(plan, closed.is_none()));
        if let Some(message) = idle.filter(|_| self.observed()) {
            self.finish(status, Phase::NothingToDo, message);
            return None;
        }
        if self.config.mode == Mode::Plan
            && status
                .gates
                .iter()
                .all(|gate| gate.open || GateName::Mode.is_of(gate))
        {
            self.finish(
                status,
                Phase::Planned,
                "planned; nothing was changed, as the mode is plan".to_owned(),
            );
            return None;
        }
        if let Some(closed) = closed {
            status.message = closed;
            return self.give_up_late(status);
        }
        status.phase = Phase::Running;
        status.attempt = 1;
        status.started_at = Some(self.now);
        self.start_next(status);
        None
    }

    pub(super) fn make_plan(&self, playbook: &Playbook) -> Result<Plan, String> {
        let driver: &SharedStr = &self.run.spec.driver;
        plan::make_checked(
            self.model,
            self.findings,
            playbook,
            driver,
            self.config,
            self.now,
        )
    }

    /// Whether only alerts requested the run, and none of them fires any more. A person's approval is a request, too.
    fn is_withdrawn(&self) -> bool {
        let (trigger, approval) = (&self.run.spec.trigger, &self.run.spec.approval);
        let mut alerts = trigger.alerts.iter();
        trigger.person.is_none()
            && approval.is_none()
            && !trigger.alerts.is_empty()
            && alerts.all(|alert| alert.resolved_at.is_some())
    }

    /// The person who rejected this plan.
    pub(super) fn rejected(&self, plan: &Plan) -> Option<&str> {
        let approval = self.run.spec.approval.as_ref()?;
        let rejected = plan.hash == approval.plan && approval.decision == Decision::Rejected;
        rejected.then(|| approval.by.as_deref().unwrap_or("somebody"))
    }

    /// Whether all inputs of a plan have been observed; before that, the absence of an object means nothing.
    fn observed(&self) -> bool {
        self.model.freshness.unsynced().next().is_none()
    }

    /// Ends a run that has waited for its gates for too long.
    fn give_up_late(&self, status: &mut RemediationStatus) -> Option<Effect> {
        let created = self
            .run
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(self.now, |time| time.0);
        let end = created
            .checked_add(self.config.gates.give_up_after.signed())
            .unwrap_or(self.now);
        if self.now >= end {
            let is_closed = |name: GateName| {
                let mut gates = status.gates.iter();
                gates.any(|gate| name.is_of(gate) && !gate.open)
            };
            // A missing decision and nothing left to do are no failures: they page nobody.
            let phase = if is_closed(GateName::Approval) && status.plan.is_some() {
                Phase::Expired
            } else if is_closed(GateName::Confirmed) && self.observed() {
                Phase::NothingToDo
            } else {
                Phase::Failed
            };
            let message = format!(
                "waited for longer than gates.giveUpAfter ({}): {}",
                self.config.gates.give_up_after, status.message
            );
            self.finish(status, phase, message);
            return None;
        }
        Some(Effect::Wait(Some(end)))
    }
}

/// The reason that this plan repairs nothing, or `None`. An alert may fire before the finding exists, so an empty plan counts
/// only once all gates are open.
fn repairs_nothing(plan: &Plan, gates_open: bool) -> Option<String> {
    if plan.acts() {
        return None;
    }
    let acting = plan.steps.iter().filter(|planned| planned.step.acts());
    let skipped = acting.flat_map(|planned| &planned.skipped);
    let skipped: Vec<_> = skipped.collect();
    match skipped.first() {
        Some(first) => Some(format!(
            "nothing to do: none of {} can be deleted; {}: {}",
            count(skipped.len(), "object"),
            first.object,
            first.message
        )),
        None => {
            gates_open.then(|| "nothing to do: the plan deletes and restarts nothing".to_owned())
        }
    }
}
