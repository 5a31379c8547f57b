//! Gate `confirmed`: the alert's cause is found here too. An alert is a hint, never a proof.
//!
//! What would pause or restart what others use needs more than a finding: the driver itself has to have refused or failed.
//! A claim that is Pending, and an Event that says why, everybody can make who may write to one namespace.

use std::collections::HashSet;

use super::{Gate, GateName, Situation, Verdict};
use crate::api::LockKey;
use crate::api::StepName;
use crate::findings::{Finding, FindingReason, proven, snapshot_content};

pub(super) struct Confirmed;

impl Gate for Confirmed {
    fn name(&self) -> GateName {
        GateName::Confirmed
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let driver = &situation.run.spec.driver;
        let closed = |reason, opens: &str| Verdict::Closed {
            reason,
            opens: opens.to_owned(),
        };
        if situation.stuck().next().is_none() {
            return closed(
                format!("nothing stuck is found that {driver} serves"),
                "when a finding confirms the alert",
            );
        }
        let reaches_others = situation.plan.is_none_or(|plan| {
            [StepName::SuspendSources, StepName::RestartProvisioner]
                .into_iter()
                .any(|step| plan.step(step).is_some())
        });
        let by_driver = || {
            let proven = proven(situation.model, driver, situation.now);
            situation
                .stuck()
                .any(|finding| driver_says(situation, &proven, finding))
        };
        if reaches_others && !by_driver() {
            return closed(
                format!("nothing but claims and Events says that {driver} is stuck"),
                "when its log or the status of a snapshot tells of a refusal or a failure",
            );
        }
        Verdict::Open
    }
}

/// Whether `finding` rests on what the driver or its sidecars say: its log, or a snapshot it was asked for.
fn driver_says(situation: &Situation<'_>, proven: &HashSet<LockKey>, finding: &Finding) -> bool {
    let model = situation.model;
    match (&finding.what, &finding.object) {
        (FindingReason::OperationLock(key), _) => proven.contains(key),
        (FindingReason::FailedSnapshot(reason), Some(object))
            if reason.why_beyond_repair().is_none() =>
        {
            let snapshot = model.snapshots.get(&object.namespace, &object.name);
            snapshot.is_some_and(|snapshot| snapshot_content(model, snapshot).is_some())
        }
        _ => false,
    }
}
