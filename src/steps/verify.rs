//! `verifyProvisioning`: the claims that were Pending at the start become Bound.

use super::{Progress, Scene, Step, count, gone, some};
use crate::api::remediation::LeftRecord;
use crate::model::records::ClaimPhase;

pub(super) struct VerifyProvisioning;

impl Step for VerifyProvisioning {
    fn advance(&self, scene: &Scene<'_>) -> Progress {
        let within = scene.config.steps.verify_provisioning.within;
        let (mut bound, mut left, mut waiting) = (0, Vec::<LeftRecord>::new(), Vec::new());
        for target in &scene.planned.targets {
            let object = &target.object;
            match scene.model.claims.get(&object.namespace, &object.name) {
                None => left.push(gone(object, None)),
                Some(claim) if claim.meta.uid != object.uid => {
                    left.push(gone(object, Some(&claim.meta.uid)));
                }
                Some(claim) if claim.phase == ClaimPhase::Bound => bound += 1,
                Some(claim) if claim.meta.deleting.is_some() => left.push(LeftRecord {
                    object: object.clone(),
                    why: "is being deleted".to_owned(),
                }),
                Some(_) => waiting.push(object),
            }
        }
        if waiting.is_empty() {
            return Progress::Done(format!("{} Bound", count(bound, "claim")), left);
        }
        if scene.overdue(within) {
            let names = some(waiting.iter().copied());
            return Progress::Failed(format!(
                "{} still Pending after {within}: {names}",
                waiting.len()
            ));
        }
        Progress::Wait(scene.deadline(within))
    }
}
