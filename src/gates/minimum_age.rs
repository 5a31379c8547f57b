//! Gate `minimumAge`: the oldest finding has been stuck for so long that it is unlikely to clear by itself.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct MinimumAgeGate;

impl Gate for MinimumAgeGate {
    fn name(&self) -> GateName {
        GateName::MinimumAge
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let wanted = cx.config.gates.minimum_age;
        let oldest = cx.stuck().map(|finding| finding.since).min();
        let Some(oldest) = oldest else {
            return GateResult::Closed {
                reason: "there is no finding".to_owned(),
                opens: format!("when a finding is {wanted} old"),
            };
        };
        let opens = oldest.checked_add(wanted.signed());
        match opens {
            Ok(opens) if cx.now >= opens => GateResult::Open,
            Ok(opens) => GateResult::Closed {
                reason: format!("the oldest finding is younger than gates.minimumAge ({wanted})"),
                opens: format!("at {opens:.0}"),
            },
            Err(_) => GateResult::Closed {
                reason: format!("gates.minimumAge ({wanted}) is too large"),
                opens: "with a shorter gates.minimumAge".to_owned(),
            },
        }
    }
}
