//! Gate `progress`: the driver is not making volumes for others right now. A restart would interrupt what works.

use super::{Gate, Situation, Verdict};

pub(super) struct Progress;

impl Gate for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let quiet = situation.config.gates.progress_within;
        let latest = situation
            .model
            .volumes
            .iter()
            .filter(|volume| volume.driver == situation.run.spec.driver)
            .max_by_key(|volume| volume.created);
        match latest
            .and_then(|volume| Some((volume, volume.created.checked_add(quiet.signed()).ok()?)))
        {
            Some((volume, opens)) if situation.now < opens => Verdict::Closed {
                reason: format!(
                    "PersistentVolume {} was made within the last {quiet}",
                    volume.name
                ),
                opens: format!("at {opens:.0}, if no other is made"),
            },
            _ => Verdict::Open,
        }
    }
}
