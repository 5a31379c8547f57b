//! Gate `mode`: the configured mode is `act`.

use super::{Gate, GateName, Verdict};
use crate::config;
use crate::run_context::RunContext;

pub(super) struct Mode;

impl Gate for Mode {
    fn name(&self) -> GateName {
        GateName::Mode
    }

    fn standing(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> Verdict {
        match cx.config.mode {
            config::Mode::Act => Verdict::Open,
            mode => Verdict::Closed {
                reason: format!("the mode is {}", mode.as_str()),
                opens: "with mode: act in the configuration".to_owned(),
            },
        }
    }
}
