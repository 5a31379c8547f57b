//! Gate `progress`: the driver has not created a volume or snapshot recently, since a restart would interrupt a driver that
//! works. A creation counts even if its object has been deleted since.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct ProgressGate;

impl Gate for ProgressGate {
    fn name(&self) -> GateName {
        GateName::Progress
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let quiet = cx.config.gates.progress_within;
        let creations = &cx.model.creations;
        let Some(latest) = creations.latest(&cx.run.spec.driver) else {
            return GateResult::Open;
        };
        if cx.now.duration_since(latest.at.at()) >= quiet.signed() {
            return GateResult::Open;
        }
        GateResult::Closed {
            reason: format!(
                "{} {} was created within the last {quiet}",
                latest.kind.as_str(),
                latest.name
            ),
            opens: latest.at.at().checked_add(quiet.signed()).map_or_else(
                |_| "with a shorter gates.progressWithin".to_owned(),
                |opens| format!("at {opens:.0}, unless another is created"),
            ),
        }
    }
}
