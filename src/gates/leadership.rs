//! Gate `leadership`: this replica holds the Lease.
//!
//! Each write asks for the term once more, just before it is made: this gate tells, that check protects.

use super::{Gate, GateName, Situation, Verdict};

pub(super) struct Leadership;

impl Gate for Leadership {
    fn name(&self) -> GateName {
        GateName::Leadership
    }

    fn standing(&self) -> bool {
        true
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        match situation.model.term {
            Some(_) => Verdict::Open,
            None => Verdict::Closed {
                reason: "this replica does not lead".to_owned(),
                opens: "when it holds the Lease".to_owned(),
            },
        }
    }
}
