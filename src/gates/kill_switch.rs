//! Gate `killSwitch`: the namespace of the Remediations does not have the stop annotation.

use super::{Gate, GateName, GateResult};
use crate::api::{STOP_ANNOTATION, SharedStr};
use crate::model::Model;
use crate::run_context::RunContext;

pub(super) struct KillSwitchGate;

impl Gate for KillSwitchGate {
    fn name(&self) -> GateName {
        GateName::KillSwitch
    }

    fn checked_before_each_step(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let namespace = cx.run.metadata.namespace.as_deref();
        let name = SharedStr::from(namespace.unwrap_or_default());
        match stopped(cx.model, &name) {
            None => GateResult::Open,
            Some(reason) => GateResult::Closed {
                reason,
                opens: match cx.model.namespaces.get_cluster(&name) {
                    Some(_) => {
                        format!("after: kubectl annotate namespace {name} {STOP_ANNOTATION}-")
                    }
                    None => "when the namespace has been read".to_owned(),
                },
            },
        }
    }
}

/// The reason that runs in this namespace may only release, or `None`.
pub fn stopped(model: &Model, name: &SharedStr) -> Option<String> {
    match model.namespaces.get_cluster(name) {
        Some(namespace) if namespace.stopped => Some("the kill switch is on".to_owned()),
        Some(_) => None,
        None => Some(format!("namespace {name} has not been read yet")),
    }
}
