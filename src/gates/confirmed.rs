//! Gate `confirmed`: the alert's cause is found here too. An alert is a hint, never a proof.

use super::{Gate, Situation, Verdict};

pub(super) struct Confirmed;

impl Gate for Confirmed {
    fn name(&self) -> &'static str {
        "confirmed"
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let driver = &situation.run.spec.driver;
        if situation.stuck().next().is_some() {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: format!("nothing stuck is found that {driver} serves"),
            opens: "when a finding confirms the alert".to_owned(),
        }
    }
}
