//! Gate `mode`: the configured mode is `act`.

use super::{Gate, GateName, GateResult};
use crate::config;
use crate::run_context::RunContext;

pub(super) struct ModeGate;

impl Gate for ModeGate {
    fn name(&self) -> GateName {
        GateName::Mode
    }

    fn checked_before_each_step(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        match cx.config.mode {
            config::Mode::Act => GateResult::Open,
            mode => GateResult::Closed {
                reason: format!("the mode is {}", mode.as_str()),
                opens: "with mode: act in the configuration".to_owned(),
            },
        }
    }
}
