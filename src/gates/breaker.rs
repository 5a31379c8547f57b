//! Gate `breaker`: the latest runs have not all failed. Repeating a repair that failed is unlikely to help.

use super::{Gate, GateName, GateResult};
use crate::api::Uid;
use crate::api::remediation::Phase;
use crate::model::Model;
use crate::run_context::RunContext;

/// Annotation of a Remediation, set by `locksmith reset`. Failures up to and including that run no longer count.
pub const RESET_ANNOTATION: &str = "locksmith.dev/breaker-reset";

pub(super) struct BreakerGate;

impl Gate for BreakerGate {
    fn name(&self) -> GateName {
        GateName::Breaker
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let most = cx.config.gates.breaker_after;
        let failed = failures_in_a_row(cx.model);
        if failed < most {
            return GateResult::Open;
        }
        GateResult::Closed {
            reason: format!("the last {failed} runs failed"),
            opens: "after: locksmith reset, once you have found the cause".to_owned(),
        }
    }
}

/// Number of latest runs that failed since one succeeded or a person reset the breaker.
pub fn failures_in_a_row(model: &Model) -> u32 {
    u32::try_from(failed_in_a_row(model).len()).unwrap_or(u32::MAX)
}

/// Uids of these runs.
///
/// Only runs that started count: one whose gates never opened has tried nothing.
pub fn failed_in_a_row(model: &Model) -> Vec<&Uid> {
    let mut runs: Vec<_> = model
        .runs
        .iter()
        .filter_map(|run| {
            let status = run.object.status.as_ref()?;
            status.started_at?;
            Some((
                status.finished_at?,
                &run.meta.uid,
                status.phase,
                &run.object.metadata,
            ))
        })
        .collect();
    runs.sort_by_key(|(finished, uid, ..)| (*finished, *uid));
    let reset = |meta: &kube::core::ObjectMeta| {
        meta.annotations
            .as_ref()
            .is_some_and(|all| all.contains_key(RESET_ANNOTATION))
    };
    runs.into_iter()
        .rev()
        .take_while(|(_, _, phase, meta)| *phase != Phase::Succeeded && !reset(meta))
        .filter(|(_, _, phase, _)| *phase == Phase::Failed)
        .map(|(_, uid, ..)| uid)
        .collect()
}
