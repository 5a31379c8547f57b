//! Gate `approval`: if the playbook requires approval, or a person has decided on a plan, exactly this plan was approved
//! recently.

use jiff::SignedDuration;

use super::{Gate, GateName, Situation, Verdict};
use crate::api::remediation::Decision;

/// How far ahead of ours the clock of the approver may be.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

pub(super) struct Approval;

impl Gate for Approval {
    fn name(&self) -> GateName {
        GateName::Approval
    }

    fn of_plan(&self) -> bool {
        true
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let Some(playbook) = situation
            .config
            .playbooks
            .0
            .get(&situation.run.spec.playbook)
        else {
            return closed(
                situation,
                "the playbook is not in the configuration".to_owned(),
            );
        };
        // A person who requested a run was shown a plan: only that plan runs in their name.
        if !playbook.approval && situation.run.spec.approval.is_none() {
            return Verdict::Open;
        }
        let Some(plan) = situation.plan else {
            return closed(situation, "there is no plan to approve".to_owned());
        };
        let Some(approval) = &situation.run.spec.approval else {
            return closed(situation, format!("plan {} is not approved", plan.hash));
        };
        let by = approval.by.as_deref().unwrap_or("somebody");
        if approval.plan != plan.hash {
            return closed(
                situation,
                format!(
                    "{by} decided on plan {}, but the plan is now {}",
                    approval.plan, plan.hash
                ),
            );
        }
        let lasts = situation.config.gates.approval_lasts;
        if approval.decision == Decision::Rejected {
            return closed(situation, format!("{by} rejected plan {}", plan.hash));
        }
        let Some(at) = approval.at else {
            return closed(
                situation,
                format!("the approval by {by} has no time in spec.approval.at"),
            );
        };
        let age = situation.now.duration_since(at);
        if age < -SKEW {
            closed(
                situation,
                format!("the approval by {by} is dated in the future ({at:.0})"),
            )
        } else if age >= lasts.signed() {
            closed(
                situation,
                format!("the approval by {by} is older than gates.approvalLasts ({lasts})"),
            )
        } else {
            Verdict::Open
        }
    }
}

fn closed(situation: &Situation<'_>, reason: String) -> Verdict {
    let name = situation.run.metadata.name.as_deref().unwrap_or("NAME");
    Verdict::Closed {
        reason,
        opens: format!("with locksmith approve {name}"),
    }
}
