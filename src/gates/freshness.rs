//! Gate `freshness`: every watch is synced, the clock is right, and the installed CRDs have every field of this build.

use super::{Gate, GateName, GateResult};
use crate::model::Kind;
use crate::run_context::RunContext;

pub(super) struct FreshnessGate;

impl Gate for FreshnessGate {
    fn name(&self) -> GateName {
        GateName::Freshness
    }

    fn checked_before_each_step(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let doubts: Vec<_> = cx
            .model
            .freshness
            .unsynced()
            .map(|(kind, state)| match state.problem() {
                Some(why) if matches!(kind, Kind::Clock | Kind::Definitions) => {
                    format!("{}: {why}", kind.as_str())
                }
                Some(why) => format!("{} cannot be read ({why})", kind.as_str()),
                None => format!("{} not listed yet", kind.as_str()),
            })
            .collect();
        if doubts.is_empty() {
            return GateResult::Open;
        }
        GateResult::Closed {
            reason: doubts.join(", "),
            opens: "when all of them can be read".to_owned(),
        }
    }
}
