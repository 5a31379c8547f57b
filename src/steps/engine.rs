//! The state machine of a run.
//!
//! ```text
//! Pending ──plan made, gates open──► Running ──step by step──► verdict ──► Succeeded, or NothingToDo
//!    │                                  │  a step fails: resumeSources next, then ──► Failed
//!    ├─ mode plan ──► Planned           └─ locks found after the verification: a new plan, next attempt
//!    ├─ nobody approves ──► Expired
//!    └─ nothing can be repaired ──► NothingToDo
//! ```

mod begin;
mod retry;

use jiff::Timestamp;

use super::{NextAction, StepDecision, conditions, step, suspend, verdict};
use crate::api::remediation::{
    HoldRecord, Phase, Remediation, RemediationStatus, StepPhase, StepRecord,
};
use crate::api::{Plan, StepName};
use crate::config::Config;
use crate::findings::Finding;
use crate::gates;
use crate::holds::{self, Due};
use crate::model::{Kind, Model};
use crate::plan::MAX_LISTED;
use crate::run_context::{LiveState, RunContext};

/// The next action of `run`.
pub fn next(
    run: &Remediation,
    model: &Model,
    findings: &[Finding],
    config: &Config,
    live: Option<&LiveState>,
    now: Timestamp,
) -> NextAction {
    let cx = RunContext::new(run, model, findings, config, live, now);
    let mut status = cx.status().clone();
    let effect = match status.phase {
        Phase::Pending => cx.begin(&mut status),
        Phase::Running => cx.proceed(&mut status),
        Phase::Planned
        | Phase::Succeeded
        | Phase::NothingToDo
        | Phase::Failed
        | Phase::Aborted
        | Phase::Expired => None,
    };
    // Record reopened gates before acting, so that the status never shows a closed gate beside a write.
    let gates_recorded = run.status.as_ref().map(|known| &known.gates) == Some(&status.gates);
    let until = match effect {
        Some(Effect::Do(action)) if gates_recorded || !matches!(action, NextAction::Act(_)) => {
            return action;
        }
        Some(Effect::Wait(until)) => until,
        Some(Effect::Do(_)) | None => None,
    };
    cx.list_holds(&mut status);
    cx.note_progress(&mut status);
    conditions::set(&mut status, now);
    if run.status.as_ref() != Some(&status) {
        return NextAction::Record(Box::new(status));
    }
    NextAction::Wait(until)
}

/// The recorded status with the present progress of the current step, if that has changed.
pub fn progress(
    run: &Remediation,
    model: &Model,
    findings: &[Finding],
    config: &Config,
    now: Timestamp,
) -> Option<RemediationStatus> {
    let cx = RunContext::new(run, model, findings, config, None, now);
    let mut status = cx.status().clone();
    cx.note_progress(&mut status);
    (status != *cx.status()).then_some(status)
}

/// The effect of a transition, beside its changes of the status.
enum Effect {
    Do(NextAction),
    Wait(Option<Timestamp>),
}

impl RunContext<'_> {
    /// Advances the current step, or verifies the run once all steps are done.
    fn proceed(&self, status: &mut RemediationStatus) -> Option<Effect> {
        let Some(plan) = self.plan else {
            self.finish(
                status,
                Phase::Failed,
                "the status of the running Remediation has no plan".to_owned(),
            );
            return None;
        };
        let Some(at) = current(status) else {
            return self.conclude(status, plan);
        };
        let name = status.steps[at].step;
        let undoing = name == StepName::ResumeSources;
        if self.run.spec.abort && !undoing {
            self.fail_step(status, at, "aborted by a person".to_owned());
            return None;
        }
        if !undoing {
            let gates = gates::judge_before_step(self);
            let closed = gates::closed(&gates);
            gates::merge(&mut status.gates, gates);
            if let Some(closed) = closed {
                let end = self.gate_deadline(&status.steps[at]);
                if self.now >= end {
                    let limit = self.config.gates.give_up_after;
                    let message =
                        format!("waited for longer than gates.giveUpAfter ({limit}): {closed}");
                    self.fail_step(status, at, message);
                    return None;
                }
                status.message = format!("{} waits: {closed}", name.as_str());
                return Some(Effect::Wait(Some(end)));
            }
            if let Some(hold) = holds::of_run(self.model, &self.id, self.now)
                && let Some(why) = suspend::tripwire(self.model, status, hold)
            {
                self.fail_step(status, at, why);
                return None;
            }
            if needs_holds(name) && self.nothing_is_held(status, plan) {
                let why = "nothing is held any longer: everything was released by somebody else or at the deadline";
                self.fail_step(status, at, why.to_owned());
                return None;
            }
            let waits_for = &status.steps[at].message;
            status.message = if waits_for.is_empty() {
                under_way(name)
            } else {
                format!("{}: {waits_for}", under_way(name))
            };
        }
        let Some(planned) = plan.step(name) else {
            self.fail_step(status, at, "the step is not in the plan".to_owned());
            return None;
        };
        match step(name).advance(self, &status.steps[at], planned) {
            StepDecision::Act(intents) => Some(Effect::Do(NextAction::Act(intents))),
            StepDecision::CollectEvidence(objects) => {
                Some(Effect::Do(NextAction::CollectEvidence(objects)))
            }
            StepDecision::ReadLive => Some(Effect::Do(NextAction::ReadLive { logs: false })),
            StepDecision::Prove(probe) => Some(Effect::Do(NextAction::Prove(probe))),
            StepDecision::Wait(until) => Some(Effect::Wait(until)),
            StepDecision::Note(record) => {
                status.steps[at] = record;
                None
            }
            StepDecision::Done(message, left) => {
                let record = &mut status.steps[at];
                record.skipped = left;
                // The verdict needs every deletion, and the plan's lint has left room for them.
                if !name.deletes() {
                    record.skipped.truncate(MAX_LISTED);
                }
                self.end(record, StepPhase::Succeeded, message);
                self.start_next(status);
                None
            }
            StepDecision::Failed(message) => {
                if name == StepName::VerifyProvisioning && self.should_retry(status) {
                    return self.retry(status, at, &message);
                }
                self.fail_step(status, at, message);
                None
            }
        }
    }

    /// The final verification, which alone decides how the run ends.
    fn conclude(&self, status: &mut RemediationStatus, plan: &Plan) -> Option<Effect> {
        let failed = |record: &&StepRecord| {
            record.attempt == status.attempt && record.phase == StepPhase::Failed
        };
        if let Some(record) = status.steps.iter().find(failed) {
            let message = format!("{} failed: {}", record.step.as_str(), record.message);
            let phase = if self.run.spec.abort {
                Phase::Aborted
            } else {
                Phase::Failed
            };
            self.finish(status, phase, message);
            return None;
        }
        if self.run.spec.abort {
            let message = "aborted by a person before the verification".to_owned();
            self.finish(status, Phase::Aborted, message);
            return None;
        }
        let ended = status
            .steps
            .last()
            .and_then(|record| record.finished_at)
            .unwrap_or(self.now);
        let with_logs = |live: &&LiveState| live.at >= ended && live.refusals.is_some();
        let Some(live) = self.live.filter(with_logs) else {
            return Some(Effect::Do(NextAction::ReadLive { logs: true }));
        };
        let judged = verdict::Judged {
            cx: self,
            plan,
            live,
            ended,
        };
        let checks = judged.checks();
        let outcome = judged.outcome();
        let unmet = checks
            .iter()
            .find(|check| !check.passed)
            .map(|check| check.message.clone());
        status.verdict = checks;
        let within = self.config.steps.verdict.within;
        let end = ended.checked_add(within.signed()).unwrap_or(self.now);
        match unmet {
            None => self.finish(status, outcome.phase(), outcome.message().to_owned()),
            Some(unmet) if self.now >= end => {
                self.finish(
                    status,
                    Phase::Failed,
                    format!("verification failed after {within}: {unmet}"),
                );
            }
            Some(unmet) => {
                status.message = format!("verifying: {unmet}");
                return Some(Effect::Wait(Some(
                    self.now.checked_add(RECHECK).unwrap_or(end).min(end),
                )));
            }
        }
        None
    }

    /// Time until which a step may wait for gates.
    fn gate_deadline(&self, record: &StepRecord) -> Timestamp {
        let patience = self.config.gates.give_up_after.signed();
        let end = record.started_at.checked_add(patience);
        end.unwrap_or(self.now)
    }

    fn fail_step(&self, status: &mut RemediationStatus, at: usize, message: String) {
        self.end(&mut status.steps[at], StepPhase::Failed, message);
        self.start_next(status);
    }

    fn end(&self, record: &mut StepRecord, phase: StepPhase, message: String) {
        record.phase = phase;
        record.finished_at = Some(self.now);
        record.message = message;
        record.progress = None;
    }

    /// Records the next step as Started. After a failure that is the resume, and the others are Skipped.
    fn start_next(&self, status: &mut RemediationStatus) {
        let attempt = status.attempt;
        let Some(plan) = &status.plan else { return };
        let this_time = |record: &&StepRecord| record.attempt == attempt;
        let failed = status
            .steps
            .iter()
            .filter(this_time)
            .any(|record| record.phase == StepPhase::Failed);
        let mut done = status.steps.iter().filter(this_time).count();
        while let Some(planned) = plan.steps.get(done) {
            let skip = failed && planned.step != StepName::ResumeSources;
            status.steps.push(StepRecord {
                step: planned.step,
                attempt,
                phase: if skip {
                    StepPhase::Skipped
                } else {
                    StepPhase::Started
                },
                started_at: self.now,
                finished_at: skip.then_some(self.now),
                acted_at: None,
                replaced_at: None,
                message: if skip {
                    "an earlier step failed".to_owned()
                } else {
                    String::new()
                },
                skipped: Vec::new(),
                progress: None,
            });
            if !skip {
                status.step = Some(planned.step);
                status.message = under_way(planned.step);
                return;
            }
            done += 1;
        }
        "steps done".clone_into(&mut status.message);
    }

    fn finish(&self, status: &mut RemediationStatus, phase: Phase, message: String) {
        status.phase = phase;
        status.step = None;
        status.message = message;
        status.finished_at = Some(self.now);
    }

    /// Notes the progress of the current step, once that is recorded.
    fn note_progress(&self, status: &mut RemediationStatus) {
        let known = current(self.status());
        let Some(at) = known.filter(|at| current(status) == Some(*at)) else {
            status.progress = None;
            return;
        };
        // An object of a kind that is not listed yet would count as gone.
        if self.model.freshness.unsynced().next().is_some() {
            return;
        }
        let record = &status.steps[at];
        let planned = self.plan.and_then(|plan| plan.step(record.step));
        let progress = planned.map(|planned| step(record.step).progress(self, record, planned));
        status.progress = progress
            .as_ref()
            .map(|progress| format!("{}/{}", progress.done, progress.total));
        status.steps[at].progress = progress;
    }

    /// Lists in the status what this run still holds.
    fn list_holds(&self, status: &mut RemediationStatus) {
        // Before the first list the model shows no hold at all; a hold whose recorded deadline has passed has ended all the same.
        if !self.model.freshness.trusted(Kind::SnapshotHolds) {
            if status.holds.iter().all(|hold| hold.until <= self.now) {
                status.holds.clear();
                status.held = 0;
            }
            return;
        }
        let policy = (&self.config.steps.resume_sources).into();
        let mut held = holds::due(self.model, policy, self.now);
        held.retain(|(held, _)| held.hold.run.as_ref() == Some(&self.id));
        status.held = u32::try_from(held.len()).unwrap_or(u32::MAX);
        status.holds = held
            .into_iter()
            .take(MAX_LISTED)
            .map(|(held, due)| HoldRecord {
                object: held.source,
                until: held.hold.until,
                waiting_for: match due {
                    Due::Now(_) | Due::InTurn(_) => "its turn".to_owned(),
                    Due::Waits(what) => what.to_owned(),
                    Due::RunActive => "its run to resume it".to_owned(),
                },
            })
            .collect();
    }
}

/// Time between two reads for a verification that has not passed: log tails are no part of the model.
const RECHECK: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// Whether a step does harm while sources are not held: snapshots would be recreated, and a restart would cut off new ones.
fn needs_holds(step: StepName) -> bool {
    match step {
        StepName::DeleteFailedSnapshots | StepName::RestartProvisioner => true,
        StepName::SuspendSources
        | StepName::VerifyProvisioning
        | StepName::ResumeSources
        | StepName::DeleteOrphanedSources => false,
    }
}

fn under_way(step: StepName) -> String {
    format!("{} in progress", step.as_str())
}

/// The step under way.
fn current(status: &RemediationStatus) -> Option<usize> {
    status
        .steps
        .iter()
        .rposition(|record| record.phase == StepPhase::Started)
}
