//! One file a part of the plan.

mod delete;
mod lint;
mod restart;
mod suspend;
mod whole;

use crate::api::PlannedStep;

/// Targets as `action kind name`, in order.
fn targets(step: &PlannedStep) -> Vec<String> {
    let told = step.targets.iter().map(|target| {
        let object = &target.object;
        format!(
            "{:?} {} {}",
            target.action,
            object.kind.as_str(),
            object.name
        )
    });
    told.collect()
}

/// The skipped objects, as `name: message`.
fn skipped(step: &PlannedStep) -> Vec<String> {
    let told = step
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.object.name, skipped.message));
    told.collect()
}
