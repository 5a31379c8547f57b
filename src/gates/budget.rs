//! Gate `budget`: not too many recent runs in the cluster, of the playbook, or on the provisioner.
//!
//! Counted from the Remediations, so that the counts survive a restart.

use jiff::Timestamp;

use super::{Gate, GateName, GateResult};
use crate::api::Uid;
use crate::api::remediation::Remediation;
use crate::api::{Plan, StepName};
use crate::run_context::RunContext;

pub(super) struct BudgetGate;

impl Gate for BudgetGate {
    fn name(&self) -> GateName {
        GateName::Budget
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let budgets = &cx.config.gates.budgets;
        // With a span too long for a timestamp, every run counts.
        let from = cx
            .now
            .checked_sub(budgets.within.signed())
            .unwrap_or(Timestamp::MIN);
        let me = cx.run.metadata.uid.as_deref().unwrap_or_default();
        let others = cx.model.runs.iter().filter(|run| run.meta.uid != *me);
        let mut begun: Vec<(Timestamp, &Remediation)> = others
            .filter_map(|run| Some((run.object.status.as_ref()?.started_at?, &*run.object)))
            .filter(|(at, _)| *at > from)
            .collect();
        begun.sort_by_key(|(at, _)| *at);
        let spent = |most: u32, what: &str, counts: &dyn Fn(&Remediation) -> bool| {
            let counted: Vec<_> = begun
                .iter()
                .filter(|(_, run)| counts(run))
                .map(|(at, _)| *at)
                .collect();
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let beyond = counted.len().checked_sub(most)?;
            // The budget is free again when enough of them are too old to count.
            let opens = counted
                .get(beyond)
                .and_then(|frees| frees.checked_add(budgets.within.signed()).ok());
            Some(GateResult::Closed {
                reason: format!(
                    "{} runs {what} within {}; {most} are allowed",
                    counted.len(),
                    budgets.within
                ),
                opens: opens.map_or_else(
                    || "with a higher gates.budgets".to_owned(),
                    |opens| format!("at {opens:.0}"),
                ),
            })
        };
        let playbook = &cx.run.spec.playbook;
        let mine = cx.plan.and_then(restarted);
        spent(budgets.per_cluster, "in the cluster", &|_| true)
            .or_else(|| {
                spent(budgets.per_playbook, "of this playbook", &|run| {
                    run.spec.playbook == *playbook
                })
            })
            .or_else(|| {
                let mine = mine?;
                spent(
                    budgets.per_object,
                    "that restarted the same provisioner",
                    &|run| {
                        let plan = run.status.as_ref().and_then(|status| status.plan.as_ref());
                        plan.and_then(restarted) == Some(mine)
                    },
                )
            })
            .unwrap_or(GateResult::Open)
    }
}

/// The provisioner's Deployment that a plan restarts.
fn restarted(plan: &Plan) -> Option<&Uid> {
    plan.step(StepName::RestartProvisioner)?
        .targets
        .first()
        .map(|target| &target.object.uid)
}
