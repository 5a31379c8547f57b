//! Which orphaned sources are deleted.

use crate::api::SharedStr;
use crate::api::{Action, PlannedStep, Skipped, StepName, Target};
use crate::findings::{Finding, FindingReason};
use crate::model::Model;
use crate::model::records::Source;

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
        match why_source_kept(model, source) {
            Some(why) => skipped.push(Skipped {
                object,
                reason: why,
            }),
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
pub fn why_source_kept(model: &Model, source: &Source) -> Option<String> {
    if model.opted_out(&source.meta) {
        return Some("opted out by label".to_owned());
    }
    if source.meta.deleting.is_some() {
        return Some("is being deleted already".to_owned());
    }
    source
        .gitops
        .map(|tool| format!("{} would recreate it; delete it in Git", tool.as_str()))
}
