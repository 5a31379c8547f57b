//! Gate `confirmed`: a finding confirms the alert, since an alert is a hint and not a proof.
//!
//! A plan that holds sources or restarts the provisioner affects others, so it needs more than a finding: the driver itself must
//! have refused or failed. Anybody with write access to one namespace can make a Pending claim and an Event about it.

use std::collections::HashSet;

use super::{Gate, GateName, GateResult};
use crate::api::LockKey;
use crate::api::StepName;
use crate::findings::{Finding, FindingReason, proven, snapshot_content};
use crate::run_context::RunContext;

pub(super) struct ConfirmedGate;

impl Gate for ConfirmedGate {
    fn name(&self) -> GateName {
        GateName::Confirmed
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let driver = &cx.run.spec.driver;
        let closed = |reason, opens: &str| GateResult::Closed {
            reason,
            opens: opens.to_owned(),
        };
        if cx.stuck().next().is_none() {
            return closed(
                format!("there is no finding for {driver}"),
                "when a finding confirms the alert",
            );
        }
        let reaches_others = cx.plan.is_none_or(|plan| {
            [StepName::SuspendSources, StepName::RestartProvisioner]
                .into_iter()
                .any(|step| plan.step(step).is_some())
        });
        let by_driver = || {
            let proven = proven(cx.model, cx.config, driver, cx.now);
            cx.stuck().any(|finding| driver_shows(cx, &proven, finding))
        };
        if reaches_others && !by_driver() {
            return closed(
                format!("only claims and Events show that {driver} is stuck"),
                "when the log of the driver or a status shows refusals for as long as a lock, or a snapshot that the driver was called for fails",
            );
        }
        GateResult::Open
    }
}

/// Whether the driver or its sidecars show `finding`: in the log, or in a snapshot that the driver was called for.
fn driver_shows(cx: &RunContext<'_>, proven: &HashSet<LockKey>, finding: &Finding) -> bool {
    let model = cx.model;
    match (&finding.what, &finding.object) {
        (FindingReason::OperationLock(key), _) => proven.contains(key),
        (FindingReason::FailedSnapshot(reason), Some(object))
            if reason.beyond_repair().is_none() =>
        {
            let snapshot = model.snapshots.get(&object.namespace, &object.name);
            snapshot.is_some_and(|snapshot| snapshot_content(model, snapshot).is_some())
        }
        _ => false,
    }
}
