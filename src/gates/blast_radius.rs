//! Gate `blastRadius`: the deletions of all attempts together stay within a number and a share.
//!
//! The share is of the ReplicationSources: each has at most one temporary snapshot at a time, while most other
//! snapshots of a jammed cluster are the failed ones themselves. One deletion is always within the share, so that the only
//! source of a small cluster can be repaired.

use std::collections::HashSet;

use super::{Gate, GateName, GateResult};
use crate::api::ObjectKind;
use crate::run_context::RunContext;

/// Number of deletions that any share allows.
const FLOOR: usize = 1;

pub(super) struct BlastRadiusGate;

impl Gate for BlastRadiusGate {
    fn name(&self) -> GateName {
        GateName::BlastRadius
    }

    fn depends_on_plan(&self) -> bool {
        true
    }

    fn judge(&self, cx: &RunContext<'_>) -> GateResult {
        let closed = |reason| {
            GateResult::Closed {
            reason,
            opens:
                "with fewer failed snapshots or orphaned sources, or a higher gates.maxDeletions or gates.maxDeletionsShare"
                    .to_owned(),
        }
        };
        let Some(plan) = cx.plan else {
            return closed("there is no plan".to_owned());
        };
        let deleting = plan.steps.iter().filter(|planned| planned.step.deletes());
        let planned = deleting
            .flat_map(|planned| &planned.targets)
            .map(|target| &target.object.uid);
        // Leases and pods that a restart replaces are recorded as evidence, too.
        let kept = cx.status().evidence.iter().map(|kept| &kept.object);
        let before = kept
            .filter(|object| !matches!(object.kind, ObjectKind::Lease | ObjectKind::Pod))
            .map(|object| &object.uid);
        let deletions = planned.chain(before).collect::<HashSet<_>>().len();
        let all = cx.model.sources.len();
        let gates = &cx.config.gates;
        let most = usize::try_from(gates.max_deletions).unwrap_or(usize::MAX);
        if deletions > most {
            closed(format!(
                "{deletions} deletions exceed gates.maxDeletions ({most})"
            ))
        } else if deletions > FLOOR && gates.max_deletions_share.exceeded_by(deletions, all) {
            closed(format!(
                "{deletions} deletions for {all} sources exceed gates.maxDeletionsShare ({})",
                gates.max_deletions_share
            ))
        } else {
            GateResult::Open
        }
    }
}
