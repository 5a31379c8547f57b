//! Jams: several calls of a driver that hang at the same time, while it creates nothing.
//!
//! One key does not show whether its call hangs or is only slow, before the slow call ends. Several keys show it earlier, as each
//! of their calls would have to be slow. Load alone is no jam: a driver under load creates something (ceph-csi #6516).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::LockKey;
use crate::config::{Detect, Driver};

/// Number of keys that are refused at the same time in a jam. With fewer, slow calls of 10 s to 10 min would more often count as
/// locks than they do one by one (`tests/slow_calls.rs`).
const KEYS: usize = 5;

/// Refusals of a key that the driver's log or its sidecar's status proves.
#[derive(Clone, Debug)]
pub struct ProvenRefusals {
    /// The key as the driver returned it; several objects may wait for it.
    pub key: LockKey,
    /// First refusal.
    pub first: Timestamp,
    /// Latest refusal.
    pub last: Timestamp,
    /// Earliest time at which the sidecar can have called for the object: its creation, or the leader's takeover.
    pub callable: Timestamp,
}

/// Thresholds of a jam.
#[derive(Clone, Copy)]
pub struct JamThresholds {
    /// Time for which a key must have been refused, after its own call was given up.
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

    /// When a key becomes part of a jam. Refusals before its own call can have been given up are due to another call, such as
    /// that for an older snapshot of the same volume.
    pub fn due(self, of: &ProvenRefusals) -> Option<Timestamp> {
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

    /// The jam of a driver with these refusals, if there is or may be one.
    pub fn jam<'r>(
        self,
        refusals: impl Iterator<Item = &'r ProvenRefusals>,
        created: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Jam> {
        let idle = self.idle(created)?;
        // By key: the earliest due time, and whether the key has been refused since.
        let mut by_key: HashMap<&LockKey, (Timestamp, bool)> = HashMap::new();
        // A single refusal may be the last one.
        for of in refusals.filter(|of| of.last > of.first) {
            let Some(due) = self.due(of) else { continue };
            let (earliest, is_met) = by_key.entry(&of.key).or_insert((due, false));
            *earliest = due.min(*earliest);
            *is_met |= of.last > due;
        }
        let mut dues: Vec<_> = by_key.values().map(|(due, _)| *due).collect();
        if dues.len() < KEYS {
            return None;
        }
        let (_, due, _) = dues.select_nth_unstable(KEYS - 1);
        Some(Jam {
            thresholds: self,
            due: idle.max(*due),
            is_now: idle < now && by_key.values().filter(|(_, is_met)| *is_met).count() >= KEYS,
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
    /// Whether there is a jam now, and the key is a part of it.
    pub fn has(self, refusals: &[ProvenRefusals]) -> bool {
        let is_part =
            |of: &ProvenRefusals| self.thresholds.due(of).is_some_and(|due| of.last > due);
        self.is_now && refusals.iter().any(is_part)
    }

    /// When a key becomes part of the jam, if all of its keys are still refused and the driver creates nothing.
    pub fn due(self, refusals: &[ProvenRefusals]) -> Option<Timestamp> {
        let dues = refusals.iter().filter_map(|of| self.thresholds.due(of));
        Some(dues.min()?.max(self.due))
    }
}
