//! Gate `holdPolicy`: the policy and binding that enforce SnapshotHolds are installed as shipped.

use super::{Gate, GateName, GateResult};
use crate::api::StepName;
use crate::holds::policy::{install, not_in_force};
use crate::run_context::RunContext;

pub(super) struct HoldPolicyGate;

impl Gate for HoldPolicyGate {
    fn name(&self) -> GateName {
        GateName::HoldPolicy
    }

    fn checked_before_each_step(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let holds = |plan: &crate::api::Plan| plan.step(StepName::SuspendSources).is_some();
        if !cx.plan.is_none_or(holds) {
            return GateResult::Open;
        }
        let namespace = cx.run.metadata.namespace.as_deref();
        let namespace = namespace.unwrap_or_default();
        match not_in_force(cx.model, namespace) {
            None => GateResult::Open,
            Some(reason) => GateResult::Closed {
                reason,
                opens: format!("after: {}", install(namespace)),
            },
        }
    }
}
