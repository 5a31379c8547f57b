//! Gate `minimumAge`: the oldest finding has been stuck for so long that it is unlikely to clear by itself.

use super::{Gate, GateName, Situation, Verdict};

pub(super) struct MinimumAge;

impl Gate for MinimumAge {
    fn name(&self) -> GateName {
        GateName::MinimumAge
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let wanted = situation.config.gates.minimum_age;
        let oldest = situation.stuck().map(|finding| finding.since).min();
        let Some(oldest) = oldest else {
            return Verdict::Closed {
                reason: "there is no finding".to_owned(),
                opens: format!("when a finding is {wanted} old"),
            };
        };
        let opens = oldest.checked_add(wanted.signed());
        match opens {
            Ok(opens) if situation.now >= opens => Verdict::Open,
            Ok(opens) => Verdict::Closed {
                reason: format!("the oldest finding is younger than gates.minimumAge ({wanted})"),
                opens: format!("at {opens:.0}"),
            },
            Err(_) => Verdict::Closed {
                reason: format!("gates.minimumAge ({wanted}) is too large"),
                opens: "with a shorter gates.minimumAge".to_owned(),
            },
        }
    }
}
