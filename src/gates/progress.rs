//! Gate `progress`: the driver is not creating volumes or snapshots for others right now. A restart would interrupt what
//! works. Creations are counted as they are seen: one that was deleted since shows progress all the same.

use super::{Gate, GateName, Situation, Verdict};

pub(super) struct Progress;

impl Gate for Progress {
    fn name(&self) -> GateName {
        GateName::Progress
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let quiet = situation.config.gates.progress_within;
        let creations = &situation.model.creations;
        let Some(latest) = creations.latest(&situation.run.spec.driver) else {
            return Verdict::Open;
        };
        if situation.now.duration_since(latest.at.at()) >= quiet.signed() {
            return Verdict::Open;
        }
        Verdict::Closed {
            reason: format!(
                "{} {} was created within the last {quiet}",
                latest.kind.as_str(),
                latest.name
            ),
            opens: latest.at.at().checked_add(quiet.signed()).map_or_else(
                |_| "with a shorter gates.progressWithin".to_owned(),
                |opens| format!("at {opens:.0}, if no other is created"),
            ),
        }
    }
}
