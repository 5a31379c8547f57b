//! Gate `freshness`: every watch is synced, the clock is right, and the installed CRDs have every field of this build.

use super::{Gate, GateName, Verdict};
use crate::model::{Kind, WatchState};
use crate::run_context::RunContext;

pub(super) struct Freshness;

impl Gate for Freshness {
    fn name(&self) -> GateName {
        GateName::Freshness
    }

    fn standing(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> Verdict {
        let doubts: Vec<_> = cx
            .model
            .freshness
            .unsynced()
            .map(|(kind, reading)| match reading {
                WatchState::Failing(why) if matches!(kind, Kind::Clock | Kind::Definitions) => {
                    format!("{}: {why}", kind.as_str())
                }
                WatchState::Failing(why) => format!("{} cannot be read ({why})", kind.as_str()),
                _ => format!("{} not listed yet", kind.as_str()),
            })
            .collect();
        if doubts.is_empty() {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: doubts.join(", "),
            opens: "when all of them can be read".to_owned(),
        }
    }
}
