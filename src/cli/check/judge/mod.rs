//! The checks: [`Facts`] in, an [`Outcome`] for each check that could be made out. Pure.
//!
//! A check that depends on one that failed is left out, so that each fault is reported once.

mod cluster;
mod daemon;
mod drivers;
mod monitoring;
mod rights;

use serde::Serialize;

use super::catalog::{CheckId, Group};
use super::facts::Facts;

pub use monitoring::shipped_alerts;

/// The result of one check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The check.
    pub id: CheckId,
    /// The driver it is about, where there is one check for each.
    pub subject: Option<String>,
    /// Its result.
    pub state: State,
    /// The result, in one line.
    pub found: String,
    /// How to fix it; `None` for the catalog's own text.
    pub hint: Option<String>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In order.
    Pass,
    /// Not as it should be, or it could not be checked; locksmith works, or may work.
    Warn,
    /// locksmith does not work, or not wholly.
    Fail,
}

impl Outcome {
    fn new(id: CheckId, state: State, found: impl Into<String>) -> Self {
        Self {
            id,
            subject: None,
            state,
            found: found.into(),
            hint: None,
        }
    }

    fn pass(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, State::Pass, found)
    }

    fn warn(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, State::Warn, found)
    }

    fn fail(id: CheckId, found: impl Into<String>) -> Self {
        Self::new(id, State::Fail, found)
    }

    fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The fix to show: none for a check that passed.
    pub fn fix(&self) -> Option<&str> {
        let fix = self.hint.as_deref().unwrap_or(self.id.fix());
        (self.state != State::Pass).then_some(fix)
    }

    /// The group it is reported in.
    pub fn group(&self) -> Group {
        self.id.group()
    }
}

/// Every check that can be made, in the order of the report.
pub fn judge(facts: &Facts) -> Vec<Outcome> {
    let mut outcomes = cluster::server(facts);
    if let Some(cluster) = &facts.cluster {
        let rest = [
            cluster::clock(cluster),
            cluster::prerequisites(facts, cluster),
            drivers::drivers(&cluster.observed),
            rights::rights(facts, cluster),
            daemon::daemon(facts, cluster),
            monitoring::monitoring(facts, cluster),
        ];
        outcomes.extend(rest.into_iter().flatten());
    }
    outcomes.sort_by_key(Outcome::group);
    outcomes
}
