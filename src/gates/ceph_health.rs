//! Gate `cephHealth`: Ceph is healthy enough for a restart to help. Open if there is no CephCluster.

use super::{Gate, GateName, GateResult};
use crate::run_context::RunContext;

pub(super) struct CephHealthGate;

impl Gate for CephHealthGate {
    fn name(&self) -> GateName {
        GateName::CephHealth
    }

    fn depends_on_plan(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let allowed = &cx.config.gates.ceph_health;
        let ill: Vec<_> = cx
            .model
            .ceph_clusters
            .iter()
            .filter(|ceph| {
                ceph.health
                    .as_ref()
                    .is_none_or(|health| !allowed.iter().any(|known| **known == **health))
            })
            .map(|ceph| {
                let health = ceph.health.as_deref().unwrap_or("of unknown health");
                format!("CephCluster {}/{} is {health}", ceph.namespace, ceph.name)
            })
            .collect();
        if ill.is_empty() {
            return GateResult::Open;
        }
        GateResult::Closed {
            reason: ill.join(", "),
            opens: format!("when its health is {}", allowed.join(" or ")),
        }
    }
}
