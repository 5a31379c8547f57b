//! Gate `leadership`: this replica holds the Lease.
//!
//! This gate is for display. The protection is a check of the term immediately before each write.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct LeadershipGate;

impl Gate for LeadershipGate {
    fn name(&self) -> GateName {
        GateName::Leadership
    }

    fn checked_before_each_step(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        match cx.model.term {
            Some(_) => GateResult::Open,
            None => GateResult::Closed {
                reason: "this replica is not the leader".to_owned(),
                opens: "when it holds the Lease".to_owned(),
            },
        }
    }
}
