//! Gate `minimumAge`: what the run is about has been stuck for long enough not to go away by itself.

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
                reason: "nothing stuck is found".to_owned(),
                opens: format!("when something has been stuck for {wanted}"),
            };
        };
        let opens = oldest.checked_add(wanted.signed());
        match opens {
            Ok(opens) if situation.now >= opens => Verdict::Open,
            Ok(opens) => Verdict::Closed {
                reason: format!("the oldest finding is younger than {wanted}"),
                opens: format!("at {opens:.0}"),
            },
            Err(_) => Verdict::Closed {
                reason: format!("{wanted} is longer than time can be told"),
                opens: "with a shorter gates.minimumAge".to_owned(),
            },
        }
    }
}
