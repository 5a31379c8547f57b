//! Gate `killSwitch`: nobody has put the annotation on the namespace of the Remediations.

use super::{Gate, Situation, Verdict};
use crate::model::Sym;

/// Annotation of the Remediations' namespace that stops everything but releasing, whatever its value.
pub const STOP_ANNOTATION: &str = "locksmith.dev/stop";

pub(super) struct KillSwitch;

impl Gate for KillSwitch {
    fn name(&self) -> &'static str {
        "killSwitch"
    }

    fn standing(&self) -> bool {
        true
    }

    fn judge(&self, situation: &Situation<'_>) -> Verdict {
        let name = Sym::from(
            situation
                .run
                .metadata
                .namespace
                .as_deref()
                .unwrap_or_default(),
        );
        let closed = |reason| Verdict::Closed {
            reason,
            opens: format!("when the annotation {STOP_ANNOTATION} is taken from namespace {name}"),
        };
        match situation.model.namespaces.get_cluster(&name) {
            Some(namespace) if namespace.stopped => closed("the kill switch is on".to_owned()),
            Some(_) => Verdict::Open,
            None => closed(format!("namespace {name} has not been seen")),
        }
    }
}
