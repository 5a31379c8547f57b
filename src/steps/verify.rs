//! `verifyProvisioning`: waits until the claims that were Pending at the start are Bound, and frees hung deletions.

use jiff::SignedDuration;

use super::{Intent, Progress, Scene, Step, count, gone, some};
use crate::api::Action;
use crate::api::ObjectKey;
use crate::api::Skipped;
use crate::model::records::{ClaimPhase, Content};

/// How long the step tries to annotate a content that is being deleted, once it waits for nothing else: where the annotations
/// are full, the API server refuses it each time.
const TOUCH_WITHIN: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct VerifyProvisioning;

impl Step for VerifyProvisioning {
    fn advance(&self, scene: &Scene<'_>) -> Progress {
        let within = scene.config.steps.verify_provisioning.within;
        let untouched = untouched(scene);
        let settled = scene.settled().unwrap_or(scene.record.started_at);
        let (mut bound, mut left, mut waiting) = (0, Vec::<Skipped>::new(), Vec::new());
        for object in targets(scene, Action::Await) {
            match scene.model.claims.get(&object.namespace, &object.name) {
                None => left.push(gone(object, None)),
                Some(claim) if claim.meta.uid != object.uid => {
                    left.push(gone(object, Some(&claim.meta.uid)));
                }
                Some(claim) if claim.phase == ClaimPhase::Bound => bound += 1,
                Some(claim) if claim.meta.deleting.is_some() => left.push(Skipped {
                    object: object.clone(),
                    reason: "is being deleted".to_owned(),
                }),
                Some(_) => waiting.push(object),
            }
        }
        // A hung deletion is no reason to wait once all claims are Bound.
        let end = settled.max(scene.record.started_at);
        let end = end.checked_add(TOUCH_WITHIN).unwrap_or(end);
        let touching = scene.now >= settled && (scene.now < end || !waiting.is_empty());
        if !untouched.is_empty() && touching && !scene.overdue(within) {
            let token = scene.token();
            let touch = |object: &ObjectKey| Intent::Touch {
                object: object.clone(),
                token: token.clone(),
            };
            return Progress::Act(untouched.into_iter().map(touch).collect());
        }
        if scene.overdue(within) {
            if !waiting.is_empty() {
                let names = some(waiting.iter().copied());
                return Progress::Failed(format!(
                    "{} still Pending after {within}: {names}",
                    waiting.len()
                ));
            }
        } else if !waiting.is_empty() {
            return Progress::Wait(scene.deadline(within));
        } else if !untouched.is_empty() && scene.now < settled {
            return Progress::Wait(Some(settled));
        }
        left.extend(untouched.into_iter().map(|object| Skipped {
            object: object.clone(),
            reason: "its deletion hangs, and it could not be annotated".to_owned(),
        }));
        let message = if targets(scene, Action::Await).next().is_none() {
            "no claims to verify".to_owned()
        } else {
            format!("{} Bound", count(bound, "claim"))
        };
        Progress::Done(message, left)
    }
}

fn targets<'s>(scene: &'s Scene<'_>, action: Action) -> impl Iterator<Item = &'s ObjectKey> {
    let targets = scene.planned.targets.iter();
    targets
        .filter(move |target| target.action == action)
        .map(|target| &target.object)
}

/// Contents of the plan that are still being deleted, and that this attempt has not touched yet.
fn untouched<'s>(scene: &'s Scene<'_>) -> Vec<&'s ObjectKey> {
    let token = scene.token();
    let is_stuck = |content: &Content| {
        content.meta.deleting.is_some() && content.touched_by.as_deref() != Some(&*token)
    };
    targets(scene, Action::Touch)
        .filter(|object| {
            let content = scene.model.contents.get_cluster(&object.name);
            content.is_some_and(|it| it.meta.uid == object.uid && is_stuck(it))
        })
        .collect()
}
