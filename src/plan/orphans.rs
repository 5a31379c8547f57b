//! Which orphaned sources are deleted.

use crate::api::SharedStr;
use crate::api::{Action, PlannedStep, SkipReason, Skipped, StepName, Target};
use crate::findings::{Finding, FindingReason};
use crate::model::Model;
use crate::model::records::{GitOps, Source};

/// Deletions of the orphaned sources that nothing would recreate.
pub fn plan(model: &Model, findings: &[Finding], driver: &SharedStr) -> PlannedStep {
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    let orphaned = findings
        .iter()
        .filter(|finding| matches!(finding.what, FindingReason::OrphanedSource(_)))
        // The driver of a missing claim is unknown.
        .filter(|finding| finding.driver.as_ref().is_none_or(|of| of == driver))
        .filter_map(|finding| finding.object.clone());
    for object in orphaned {
        let Some(source) = model.sources.get(&object.namespace, &object.name) else {
            continue;
        };
        match source_skip_reason(model, source) {
            Some(reason) => skipped.push(Skipped::new(object, reason)),
            None => targets.push(Target {
                object,
                action: Action::Delete,
            }),
        }
    }
    PlannedStep {
        targets,
        skipped,
        ..PlannedStep::new(StepName::DeleteOrphanedSources)
    }
}

/// Why an orphaned source is not deleted, or `None`.
pub fn source_skip_reason(model: &Model, source: &Source) -> Option<SkipReason> {
    if model.opted_out(&source.meta) {
        return Some(SkipReason::OptedOut);
    }
    if source.meta.deleting.is_some() {
        return Some(SkipReason::BeingDeleted);
    }
    source.gitops.map(|tool| match tool {
        GitOps::Flux => SkipReason::ManagedByFlux,
        GitOps::Argo => SkipReason::ManagedByArgo,
        GitOps::InstanceLabel => SkipReason::ManagedByInstanceLabel,
    })
}
