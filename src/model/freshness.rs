//! State of each watch: a collection that was never listed, or whose watch fails, proves nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::Kind;

/// Tolerated difference between clocks: longer than a request takes, shorter than every protective timeout.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// State of one watch.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// Nothing has been listed yet.
    Never,
    /// Listed completely, and watched since.
    Synced,
    /// The last attempt failed; the known objects may be stale.
    Failing(String),
    /// The API server refuses to list it, for lack of a right; the known objects may be stale.
    Refused(String),
    /// The cluster does not serve this API, so there are no such objects.
    NotServed,
}

impl WatchState {
    /// Why it could not be read at the last attempt.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Failing(why) | Self::Refused(why) => Some(why),
            Self::Never | Self::Synced | Self::NotServed => None,
        }
    }
}

/// State of every watch.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(with = "BTreeMap<Kind, (WatchState, Option<String>)>")]
pub struct Freshness(BTreeMap<Kind, (WatchState, Option<Timestamp>)>);

impl Freshness {
    /// Records a state.
    pub fn note(&mut self, kind: Kind, state: WatchState, at: Timestamp) {
        self.0.insert(kind, (state, Some(at)));
    }

    /// State of one watch.
    pub fn of(&self, kind: Kind) -> &WatchState {
        self.0
            .get(&kind)
            .map_or(&WatchState::Never, |(state, _)| state)
    }

    /// Time at which the state was last confirmed or changed.
    pub fn at(&self, kind: Kind) -> Option<Timestamp> {
        self.0.get(&kind).and_then(|(_, at)| *at)
    }

    /// Whether the known objects can be acted on: the watch is synced, or the kind is not served.
    pub fn trusted(&self, kind: Kind) -> bool {
        matches!(self.of(kind), WatchState::Synced | WatchState::NotServed)
    }

    /// The kinds that cannot be acted on, each with its state.
    pub fn unsynced(&self) -> impl Iterator<Item = (Kind, &WatchState)> {
        Kind::ALL
            .into_iter()
            .map(|kind| (kind, self.of(kind)))
            .filter(|(kind, state)| {
                // No failure of the policy watch, such as a missing right, makes findings incomplete; gate `holdPolicy` checks
                // the policy.
                let of_policy = matches!(kind, Kind::HoldPolicy | Kind::HoldBinding);
                let blocks = !of_policy || state.problem().is_none();
                blocks && !self.trusted(*kind)
            })
    }
}
