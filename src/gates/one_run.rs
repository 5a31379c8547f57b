//! Gate `oneRun`: no other run for the driver is running.

use super::{Gate, GateName, GateResult};
use crate::api::remediation::Phase;
use crate::run_context::RunContext;

pub(super) struct OneRunGate;

impl Gate for OneRunGate {
    fn name(&self) -> GateName {
        GateName::OneRun
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let me = cx.run.metadata.uid.as_deref().unwrap_or_default();
        let other = cx.model.runs.iter().find(|run| {
            run.meta.uid != *me
                && run.object.spec.driver == cx.run.spec.driver
                && run
                    .object
                    .status
                    .as_ref()
                    .is_some_and(|status| status.phase == Phase::Running)
        });
        match other {
            None => GateResult::Open,
            Some(run) => GateResult::Closed {
                reason: format!("{} is running for {}", run.meta.name, cx.run.spec.driver),
                opens: "when it has finished".to_owned(),
            },
        }
    }
}
