//! `verifyProvisioning`: waits until the claims that were Pending at the start are Bound, and frees hung deletions.

use jiff::SignedDuration;

use super::{Intent, Step, StepDecision, count, counted, deadline, gone, some};
use crate::api::Action;
use crate::api::ObjectKey;
use crate::api::PlannedStep;
use crate::api::remediation::{StepProgress, StepRecord};
use crate::api::{SkipReason, Skipped};
use crate::model::records::{ClaimPhase, Content};
use crate::run_context::RunContext;

/// How long the step tries to annotate a content that is being deleted, once it waits for nothing else: where the annotations
/// are full, the API server refuses it each time.
const TOUCH_WITHIN: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct VerifyProvisioning;

impl Step for VerifyProvisioning {
    fn advance(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepDecision {
        let within = cx.config.steps.verify_provisioning.within;
        let untouched = untouched(cx, record, step);
        let settled = cx.settled(record).unwrap_or(record.started_at);
        let Claims {
            bound,
            mut left,
            waiting,
        } = Claims::of(cx, step);
        // A hung deletion is no reason to wait once all claims are Bound.
        let end = settled.max(record.started_at);
        let end = end.checked_add(TOUCH_WITHIN).unwrap_or(end);
        let touching = cx.now >= settled && (cx.now < end || !waiting.is_empty());
        if !untouched.is_empty() && touching && !cx.overdue(record, within) {
            let token = cx.token(record);
            let touch = |object: &ObjectKey| Intent::Touch {
                object: object.clone(),
                token: token.clone(),
            };
            return StepDecision::Act(untouched.into_iter().map(touch).collect());
        }
        if cx.overdue(record, within) {
            if !waiting.is_empty() {
                let names = some(waiting.iter().copied());
                return StepDecision::Failed(format!(
                    "{} still Pending after {within}: {names}",
                    waiting.len()
                ));
            }
        } else if !waiting.is_empty() {
            return StepDecision::Wait(deadline(record, within));
        } else if !untouched.is_empty() && cx.now < settled {
            return StepDecision::Wait(Some(settled));
        }
        let untouched = untouched.into_iter();
        left.extend(
            untouched.map(|object| Skipped::new(object.clone(), SkipReason::DeletionHangs)),
        );
        let message = if targets(step, Action::Await).next().is_none() {
            "no claims to verify".to_owned()
        } else {
            format!("{} Bound", count(bound, "claim"))
        };
        StepDecision::Done(message, left)
    }

    fn progress(
        &self,
        cx: &RunContext<'_>,
        record: &StepRecord,
        step: &PlannedStep,
    ) -> StepProgress {
        let Claims {
            bound,
            left,
            waiting,
        } = Claims::of(cx, step);
        let waiting_for = if waiting.is_empty() {
            "hung deletions to continue".to_owned()
        } else {
            format!("{} to be Bound", some(waiting.iter().copied()))
        };
        let within = cx.config.steps.verify_provisioning.within;
        let done = bound + left.len();
        counted(record, within, done, done + waiting.len(), waiting_for)
    }
}

/// The claims of the plan by their state.
struct Claims<'a> {
    bound: usize,
    left: Vec<Skipped>,
    waiting: Vec<&'a ObjectKey>,
}

impl<'a> Claims<'a> {
    fn of(cx: &RunContext<'_>, step: &'a PlannedStep) -> Self {
        let mut claims = Self {
            bound: 0,
            left: Vec::new(),
            waiting: Vec::new(),
        };
        for object in targets(step, Action::Await) {
            match cx.model.claims.get(&object.namespace, &object.name) {
                None => claims.left.push(gone(object, None)),
                Some(claim) if claim.meta.uid != object.uid => {
                    claims.left.push(gone(object, Some(&claim.meta.uid)));
                }
                Some(claim) if claim.phase == ClaimPhase::Bound => claims.bound += 1,
                Some(claim) if claim.meta.deleting.is_some() => {
                    let skipped = Skipped::new(object.clone(), SkipReason::BeingDeleted);
                    claims.left.push(skipped);
                }
                Some(_) => claims.waiting.push(object),
            }
        }
        claims
    }
}

fn targets(step: &PlannedStep, action: Action) -> impl Iterator<Item = &ObjectKey> {
    let targets = step.targets.iter();
    targets
        .filter(move |target| target.action == action)
        .map(|target| &target.object)
}

/// Contents of the plan that are still being deleted, and that this attempt has not touched yet.
fn untouched<'s>(
    cx: &RunContext<'_>,
    record: &StepRecord,
    step: &'s PlannedStep,
) -> Vec<&'s ObjectKey> {
    let token = cx.token(record);
    let is_stuck = |content: &Content| {
        content.meta.deleting.is_some() && content.touched_by.as_deref() != Some(&*token)
    };
    targets(step, Action::Touch)
        .filter(|object| {
            let content = cx.model.contents.get_cluster(&object.name);
            content.is_some_and(|it| it.meta.uid == object.uid && is_stuck(it))
        })
        .collect()
}
