//! Gate `promql`: every configured expression was evaluated recently, and returned no series.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct PromqlGate;

impl Gate for PromqlGate {
    fn name(&self) -> GateName {
        GateName::Promql
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let config = cx.config;
        let stale = config.prometheus.interval.signed() * 3;
        let closed: Vec<_> = config
            .gates
            .promql
            .iter()
            .filter_map(|(name, expression)| {
                let Some(answer) = cx.model.answers.get(expression) else {
                    return Some(format!("{name} has not been evaluated yet"));
                };
                match &answer.series {
                    Err(why) => Some(format!("{name} could not be evaluated: {why}")),
                    Ok(_) if cx.now.duration_since(answer.at) > stale => {
                        Some(format!("{name} was last evaluated at {:.0}", answer.at))
                    }
                    Ok(0) => None,
                    Ok(series) => Some(format!("{name} returns {series} series")),
                }
            })
            .collect();
        if closed.is_empty() {
            return GateResult::Open;
        }
        GateResult::Closed {
            reason: closed.join(", "),
            opens: "when the expression returns no series".to_owned(),
        }
    }
}
