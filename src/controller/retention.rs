//! Which Remediations need not be kept. Those the gates count from are: they are the gates' only memory.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::config::{Config, Duration};
use crate::gates::failed_in_a_row;
use crate::model::records::Run;
use crate::model::{Model, ObjectKey, ObjectKind};

/// Finished Remediations that hold nothing and are too old, or beyond the number kept; those that never began are
/// counted by themselves, so that any number of them drives out none that did something.
pub fn surplus(model: &Model, config: &Config, now: Timestamp) -> Vec<ObjectKey> {
    let (acted, waited): (Vec<_>, Vec<_>) = over(model)
        .into_iter()
        .partition(|over| over.began.is_some());
    let failures = failed_in_a_row(model);
    let lately = |at: Timestamp, span: Duration| now.duration_since(at) <= span.signed();
    let remembered = |over: &Over<'_>| {
        failures.contains(&&over.run.meta.uid)
            || lately(over.finished, config.gates.cooldown)
            || over
                .began
                .is_some_and(|at| lately(at, config.gates.budgets.within))
    };
    let old = |(place, over): &(usize, Over<'_>)| {
        let settings = &config.remediation;
        *place >= usize::try_from(settings.keep).unwrap_or(usize::MAX)
            || !lately(over.finished, settings.keep_for)
    };
    let acted = acted.into_iter().enumerate().filter(old);
    let waited = waited.into_iter().enumerate().filter(old);
    acted
        .filter(|(_, over)| !remembered(over))
        .chain(waited)
        .map(|(_, over)| over.run.meta.key(ObjectKind::Remediation))
        .collect()
}

/// A run that is over and holds nothing.
struct Over<'m> {
    run: &'m Run,
    /// When its first step began, if ever.
    began: Option<Timestamp>,
    finished: Timestamp,
}

/// What is over; the latest first.
fn over(model: &Model) -> Vec<Over<'_>> {
    let mut over: Vec<_> = model
        .runs
        .iter()
        .filter_map(|run| {
            let status = run.object.status.as_ref()?;
            let idle =
                status.phase.finished() && status.holds.is_empty() && run.meta.deleting.is_none();
            idle.then_some(Over {
                run,
                began: status.started_at,
                finished: status.finished_at?,
            })
        })
        .collect();
    over.sort_by_key(|over| (Reverse(over.finished), &over.run.meta.uid));
    over
}
