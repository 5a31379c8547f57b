//! Gate `approval`: if the playbook requires approval, or a person has decided on a plan, exactly this plan was approved
//! recently.

use jiff::SignedDuration;

use super::{Gate, GateName, GateResult};
use crate::api::remediation::Decision;
use crate::run_context::RunContext;

/// How far ahead of ours the clock of the approver may be.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

pub(super) struct ApprovalGate;

impl Gate for ApprovalGate {
    fn name(&self) -> GateName {
        GateName::Approval
    }

    fn depends_on_plan(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let Some(playbook) = cx.config.playbooks.0.get(&cx.run.spec.playbook) else {
            return closed(cx, "the playbook is not in the configuration".to_owned());
        };
        // A person who requested a run was shown a plan: only that plan runs in their name.
        if !playbook.approval && cx.run.spec.approval.is_none() {
            return GateResult::Open;
        }
        let Some(plan) = cx.plan else {
            return closed(cx, "there is no plan to approve".to_owned());
        };
        let Some(approval) = &cx.run.spec.approval else {
            return closed(cx, format!("plan {} is not approved", plan.hash));
        };
        let by = approval.by.as_deref().unwrap_or("somebody");
        if approval.plan != plan.hash {
            return closed(
                cx,
                format!(
                    "{by} decided on plan {}, but the plan is now {}",
                    approval.plan, plan.hash
                ),
            );
        }
        let lasts = cx.config.gates.approval_lasts;
        if approval.decision == Decision::Rejected {
            return closed(cx, format!("{by} rejected plan {}", plan.hash));
        }
        let Some(at) = approval.at else {
            return closed(
                cx,
                format!("the approval by {by} has no time in spec.approval.at"),
            );
        };
        let age = cx.now.duration_since(at);
        if age < -SKEW {
            closed(
                cx,
                format!("the approval by {by} is dated in the future ({at:.0})"),
            )
        } else if age >= lasts.signed() {
            closed(
                cx,
                format!("the approval by {by} is older than gates.approvalLasts ({lasts})"),
            )
        } else {
            GateResult::Open
        }
    }
}

fn closed(cx: &RunContext<'_>, reason: String) -> GateResult {
    let name = cx.run.metadata.name.as_deref().unwrap_or("NAME");
    GateResult::Closed {
        reason,
        opens: format!("after: locksmith approve {name}"),
    }
}
