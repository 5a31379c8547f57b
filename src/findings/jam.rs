//! Jams: several calls of a driver that hang at the same time, while it creates nothing.
//!
//! One key does not show whether its call hangs or is only slow, before the slow call ends. Several keys show it earlier, as each
//! of their calls would have to be slow. Load alone is no jam: a driver under load creates something (ceph-csi #6516).

use jiff::{SignedDuration, Timestamp};

use crate::config::{Detect, Driver};

/// Number of calls that are refused at the same time in a jam. With fewer, slow calls of 10 s to 10 min would more often count as
/// locks than they do one by one (`tests/slow_calls.rs`).
const CALLS: usize = 5;

/// Refusals of an object's own call, which the driver's log or its sidecar's status proves.
#[derive(Clone, Copy, Debug)]
pub struct OwnRefusals {
    /// First refusal.
    pub first: Timestamp,
    /// Latest refusal.
    pub last: Timestamp,
    /// Earliest time at which the present leader can have called for the object.
    pub callable: Timestamp,
}

/// Thresholds of a jam.
#[derive(Clone, Copy)]
pub struct JamThresholds {
    /// Time for which a call must have been refused, after it can have been given up.
    refused: SignedDuration,
    /// Time for which the driver must have created nothing.
    idle: SignedDuration,
    /// Time after which a sidecar gives up a call.
    timeout: SignedDuration,
}

impl JamThresholds {
    /// The thresholds of the drivers that `driver` matches, of which a single key is a lock after `alone`. An explicit
    /// `detect.lockedAfter` holds for every key, so that there are no jams.
    pub fn of(detect: &Detect, driver: &Driver, alone: SignedDuration) -> Option<Self> {
        if detect.locked_after.is_some() {
            return None;
        }
        let timeout = driver.grpc_timeout.signed();
        // A call is refused once it has lasted for the timeout, so this is half of the time since it began. `alone` is at
        // least twice the timeout.
        let refused = alone.saturating_sub(timeout) / 2;
        Some(Self {
            refused,
            idle: timeout.max(refused),
            timeout,
        })
    }

    /// When a call becomes part of a jam.
    pub fn due(self, of: OwnRefusals) -> Option<Timestamp> {
        let given_up = of.callable.checked_add(self.timeout).ok()?;
        of.first.max(given_up).checked_add(self.refused).ok()
    }

    /// When the driver has created nothing for long enough. `created` is its latest creation.
    pub fn idle(self, created: Option<Timestamp>) -> Option<Timestamp> {
        match created {
            Some(created) => created.checked_add(self.idle).ok(),
            None => Some(Timestamp::MIN),
        }
    }

    /// The jam of a driver that refuses these calls, if there is or may be one.
    pub fn jam(
        self,
        refused: impl Iterator<Item = OwnRefusals>,
        created: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Jam> {
        let idle = self.idle(created)?;
        // A single refusal may be the last one.
        let repeated = refused.filter(|of| of.last > of.first);
        let dues = repeated.filter_map(|of| Some((self.due(of)?, of.last)));
        let mut dues: Vec<_> = dues.collect();
        if dues.len() < CALLS {
            return None;
        }
        let refused_since = dues.iter().filter(|(due, last)| last > due).count();
        let (_, (due, _), _) = dues.select_nth_unstable(CALLS - 1);
        Some(Jam {
            thresholds: self,
            due: idle.max(*due),
            is_now: idle < now && refused_since >= CALLS,
        })
    }
}

/// A jam, now or later.
#[derive(Clone, Copy)]
pub struct Jam {
    thresholds: JamThresholds,
    due: Timestamp,
    is_now: bool,
}

impl Jam {
    /// Whether there is a jam now, and the call is a part of it.
    pub fn has(self, of: OwnRefusals) -> bool {
        self.is_now && self.thresholds.due(of).is_some_and(|due| of.last > due)
    }

    /// When a call becomes part of the jam, if all of its calls are still refused and the driver creates nothing.
    pub fn due(self, of: OwnRefusals) -> Option<Timestamp> {
        Some(self.thresholds.due(of)?.max(self.due))
    }
}
