//! Selects finished Remediations to delete. Those that cooldown, budgets and breaker still count are kept: the gates have no
//! other state.

use std::cmp::Reverse;

use jiff::Timestamp;

use crate::api::{ObjectKey, ObjectKind, SharedStr};
use crate::config::{Config, Duration};
use crate::gates::failed_in_a_row;
use crate::model::Model;
use crate::model::records::Run;

/// Finished Remediations of `namespace` that hold nothing and are too old, or beyond the number kept. Runs that never started
/// have a limit of their own, so that they cannot displace runs that did.
pub fn surplus(
    model: &Model,
    namespace: &SharedStr,
    config: &Config,
    now: Timestamp,
) -> Vec<ObjectKey> {
    let (acted, waited): (Vec<_>, Vec<_>) = over(model, namespace)
        .into_iter()
        .partition(|over| over.began.is_some());
    let failures = failed_in_a_row(model);
    let is_within = |at: Timestamp, span: Duration| now.duration_since(at) <= span.signed();
    let remembered = |over: &Over<'_>| {
        failures.contains(&&over.run.meta.uid)
            || is_within(over.finished, config.gates.cooldown)
            || over
                .began
                .is_some_and(|at| is_within(at, config.gates.budgets.within))
    };
    let old = |(place, over): &(usize, Over<'_>)| {
        let settings = &config.remediation;
        *place >= usize::try_from(settings.keep).unwrap_or(usize::MAX)
            || !is_within(over.finished, settings.keep_for)
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

/// The finished runs of `namespace`, the latest first.
fn over<'m>(model: &'m Model, namespace: &SharedStr) -> Vec<Over<'m>> {
    let mut over: Vec<_> = model
        .runs
        .iter()
        .filter(|run| run.meta.namespace == *namespace)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::remediation::Phase;
    use crate::model::fixture::{World, at, recorded, run_in};
    use crate::model::{Change, Delta};

    /// A run that ended that many minutes ago, after ten minutes of work or none.
    fn ended(name: &str, phase: Phase, ago: i64, worked: bool) -> Change {
        let mut run = run_in(name, phase);
        let status = run.status.as_mut().unwrap();
        status.started_at = worked.then(|| at(-ago - 10));
        status.finished_at = Some(at(-ago));
        Change::Run(Delta::Apply(recorded(run)))
    }

    fn removed(world: &World, config: &Config) -> Vec<String> {
        let surplus = surplus(&world.0, &"locksmith".into(), config, at(0));
        let mut names: Vec<_> = surplus.iter().map(|run| run.name.to_string()).collect();
        names.sort();
        names
    }

    fn keeping(keep: u32) -> Config {
        let mut config = Config::default();
        config.remediation.keep = keep;
        config
    }

    #[test]
    fn runs_that_never_started_displace_no_others() {
        let mut world = World::empty().with(ended("acted", Phase::Succeeded, 3 * 24 * 60, true));
        for at in 0..4 {
            world = world.with(ended(&format!("waited{at}"), Phase::Failed, at + 1, false));
        }
        assert_eq!(removed(&world, &keeping(2)), ["waited2", "waited3"]);
    }

    #[test]
    fn run_that_the_breaker_counts_is_kept() {
        let year = 365 * 24 * 60;
        let failed = |name: &str, ago| ended(name, Phase::Failed, ago, true);
        let world = World::empty()
            .with(failed("first", year))
            .with(failed("second", year - 60))
            .with(failed("third", year - 120));
        assert_eq!(removed(&world, &keeping(1)), [""; 0]);
        let world = world.with(ended("healed", Phase::Succeeded, year - 180, true));
        assert_eq!(
            removed(&world, &keeping(1)),
            ["first", "healed", "second", "third"]
        );
    }

    #[test]
    fn run_that_budgets_or_cooldown_count_is_kept() {
        let is_within = |name: &str, ago| ended(name, Phase::Succeeded, ago, true);
        let budget = Config::default().gates.budgets.within.0.as_secs() / 60;
        let budget = i64::try_from(budget).unwrap();
        let world = World::empty()
            .with(is_within("a", 30))
            .with(is_within("b", budget - 60))
            .with(is_within("c", budget + 60));
        assert_eq!(removed(&world, &keeping(1)), ["c"]);
    }
}
