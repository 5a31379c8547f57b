//! Removes Remediations that are over for long enough, or are too many. What the gates count from them is younger.

use jiff::Timestamp;

use crate::config::Remediation as Settings;
use crate::model::{Model, ObjectKey, ObjectKind};

/// Finished Remediations that need not be kept: those that hold nothing and are too old, or beyond the number kept.
pub fn surplus(model: &Model, settings: &Settings, now: Timestamp) -> Vec<ObjectKey> {
    let mut over: Vec<_> = model
        .runs
        .iter()
        .filter_map(|run| {
            let status = run.object.status.as_ref()?;
            let idle =
                status.phase.finished() && status.holds.is_empty() && run.meta.deleting.is_none();
            idle.then_some((status.finished_at?, run))
        })
        .collect();
    over.sort_by_key(|(finished, run)| (std::cmp::Reverse(*finished), &run.meta.uid));
    let keep = usize::try_from(settings.keep).unwrap_or(usize::MAX);
    over.into_iter()
        .enumerate()
        .filter(|(place, (finished, _))| {
            *place >= keep || now.duration_since(*finished) > settings.keep_for.signed()
        })
        .map(|(_, (_, run))| run.meta.key(ObjectKind::Remediation))
        .collect()
}
