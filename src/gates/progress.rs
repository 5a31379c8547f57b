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
        let Some(latest) = latest else {
            return Verdict::Open;
        };
        if situation.now.duration_since(latest.created.at()) >= quiet.signed() {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: format!(
                "PersistentVolume {} was made within the last {quiet}",
                latest.name
            ),
            opens: latest.created.at().checked_add(quiet.signed()).map_or_else(
                |_| "with a shorter gates.progressWithin".to_owned(),
                |opens| format!("at {opens:.0}, if no other is made"),
            ),
        }
    }
}
