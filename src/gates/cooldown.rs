//! Gate `cooldown`: the last run for the same driver, whose playbook covers this one, finished long enough ago.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct CooldownGate;

impl Gate for CooldownGate {
    fn name(&self) -> GateName {
        GateName::Cooldown
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let me = cx.run.metadata.uid.as_deref().unwrap_or_default();
        let last = cx
            .model
            .runs
            .iter()
            .filter(|run| run.meta.uid != *me)
            .filter(|run| {
                let (spec, mine) = (&run.object.spec, &cx.run.spec);
                let playbooks = &cx.config.playbooks;
                spec.driver == mine.driver && playbooks.covers(&spec.playbook, &mine.playbook)
            })
            .filter_map(|run| {
                let status = run.object.status.as_ref()?;
                // A run that never started changed nothing, so no cooldown applies.
                status.started_at?;
                // A slow local clock may date the end before the creation, which the API server dates.
                Some(status.finished_at?.max(run.meta.created.at()))
            })
            .max();
        let Some(finished) = last else {
            return GateResult::Open;
        };
        let cooldown = cx.config.gates.cooldown.signed();
        let opens = match finished.checked_add(cooldown) {
            Ok(opens) if cx.now >= opens => return GateResult::Open,
            Ok(opens) => format!("at {opens:.0}"),
            Err(_) => "never: gates.cooldown is too large".to_owned(),
        };
        GateResult::Closed {
            reason: format!("the last run of this cause finished at {finished:.0}"),
            opens,
        }
    }
}
