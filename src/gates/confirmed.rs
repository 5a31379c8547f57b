//! Gate `confirmed`: the alert's cause is found here too. An alert is a hint, never a proof.

use super::{Gate, Situation, Verdict};

pub(super) struct Confirmed;

impl Gate for Confirmed {
    fn name(&self) -> &'static str {
        "confirmed"
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let driver = &situation.run.spec.driver;
        let stuck = situation
            .findings
            .iter()
            .any(|finding| finding.what.is_stuck() && finding.driver.as_ref() == Some(driver));
        if stuck {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: format!("nothing stuck is found that {driver} serves"),
            opens: "when a finding confirms the alert".to_owned(),
        }
    }
}
