//! The time for which a key must be refused before it counts as locked by a call that hangs, and not by one that is slow.
//!
//! A single key cannot show the difference before a slow call ends, so the threshold of one is long. Several calls that hang at
//! the same time, on a driver that completes nothing, show it earlier: each of them would have to be slow.

use jiff::{SignedDuration, Timestamp};

use crate::config::{Detect, Driver};

/// Shortest duration that counts as a lock: a healthy cluster under load refuses for less than this (ceph-csi #6516).
const SHORTEST: SignedDuration = SignedDuration::from_mins(5);

/// Number of objects that wait at the same time in a jam. Measured with calls of 10 s to 10 min: fewer are too often only slow.
const JAM: usize = 5;

/// Thresholds of one driver.
#[derive(Clone, Copy)]
pub struct Threshold {
    /// Time for which a single key must be refused.
    alone: SignedDuration,
    /// Time for which each key must be refused in a jam.
    jammed: SignedDuration,
    /// Time for which the driver creates nothing in a jam.
    idle: SignedDuration,
    /// Time after which a sidecar gives up a call.
    timeout: SignedDuration,
}

/// The refusals of one object that waits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// First refusal.
    pub first: Timestamp,
    /// Latest refusal.
    pub last: Timestamp,
    /// Creation time of the object, before which no call for it can have begun.
    pub created: Option<Timestamp>,
}

impl Threshold {
    /// The thresholds of the drivers that `driver` matches.
    pub fn of(detect: &Detect, driver: &Driver) -> Self {
        let timeout = driver.grpc_timeout.signed();
        let alone = match detect.locked_after {
            Some(after) => after.signed(),
            None => timeout.saturating_mul(2).max(SHORTEST),
        };
        // A call is refused once it has lasted for the sidecar's timeout, so this is half of the time since it began.
        let jammed = (alone.saturating_sub(timeout) / 2).max(alone / 4);
        Self {
            alone,
            jammed,
            idle: timeout.max(jammed),
            timeout,
        }
    }

    /// When a call of this object becomes a lock in a jam. Refusals before the sidecar can have given up the object's own
    /// call are by another call, such as the clone of a volume that several objects are made from.
    fn jammed(self, wait: Wait) -> Option<Timestamp> {
        let own = wait
            .created
            .map(|created| created.checked_add(self.timeout));
        let own = own.transpose().ok()?.unwrap_or(wait.first);
        wait.first.max(own).checked_add(self.jammed).ok()
    }

    /// When these objects become a jam, if all of them are still refused and the driver creates nothing. `created` is the
    /// driver's latest creation.
    pub fn jam(self, waits: &[Wait], created: Option<Timestamp>) -> Option<Timestamp> {
        // A single refusal may be the last one.
        let repeated = waits.iter().filter(|wait| wait.last > wait.first);
        let mut due: Vec<_> = repeated.filter_map(|wait| self.jammed(*wait)).collect();
        if due.len() < JAM {
            return None;
        }
        let (_, of_last, _) = due.select_nth_unstable(JAM - 1);
        match created {
            Some(created) => Some(created.checked_add(self.idle).ok()?.max(*of_last)),
            None => Some(*of_last),
        }
    }

    /// Whether these objects are in a jam.
    pub fn is_jam(self, waits: &[Wait], created: Option<Timestamp>, now: Timestamp) -> bool {
        let refused = |wait: &&Wait| self.jammed(**wait).is_some_and(|due| wait.last > due);
        let idle = created.is_none_or(|created| now.duration_since(created) > self.idle);
        idle && waits.iter().filter(refused).count() >= JAM
    }

    /// Whether the key of an object is a lock.
    pub fn is_lock(self, wait: Wait, is_jam: bool) -> bool {
        let alone = wait.first.checked_add(self.alone).ok();
        let jammed = is_jam.then(|| self.jammed(wait)).flatten();
        alone.into_iter().chain(jammed).any(|due| wait.last > due)
    }

    /// When the key of an object becomes a lock, if it is still refused and nothing changes. `jam` is the time from which on
    /// there is a jam.
    pub fn due(self, wait: Wait, jam: Option<Timestamp>) -> Timestamp {
        let alone = wait.first.checked_add(self.alone).ok();
        let jammed = jam.and_then(|jam| Some(jam.max(self.jammed(wait)?)));
        alone
            .into_iter()
            .chain(jammed)
            .min()
            .unwrap_or(Timestamp::MAX)
    }

    /// Every time at which the key of an object may become a lock.
    pub fn dues(self, wait: Wait, created: Option<Timestamp>) -> impl Iterator<Item = Timestamp> {
        let alone = wait.first.checked_add(self.alone).ok();
        let idle = created.and_then(|created| created.checked_add(self.idle).ok());
        [alone, self.jammed(wait), idle].into_iter().flatten()
    }
}
