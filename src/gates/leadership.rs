//! Gate `leadership`: this replica holds the Lease.
//!
//! This gate is for display. The protection is a check of the term immediately before each write.

use super::{Gate, GateName, Verdict};
use crate::run_context::RunContext;

pub(super) struct Leadership;

impl Gate for Leadership {
    fn name(&self) -> GateName {
        GateName::Leadership
    }

    fn standing(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> Verdict {
        match cx.model.term {
            Some(_) => Verdict::Open,
            None => Verdict::Closed {
                reason: "this replica is not the leader".to_owned(),
                opens: "when it holds the Lease".to_owned(),
            },
        }
    }
}
