//! Refused operations: who said so, since when, and whether it goes on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::{LockKey, ObjectKey, SharedStr, Uid};

/// Who saw a refusal.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// A Kubernetes Event on this claim. Whoever may write Events in its namespace can have written it.
    Event(ObjectKey),
    /// `status.error` of a VolumeSnapshot or VolumeSnapshotContent.
    Status,
    /// The log of the driver's container in this pod.
    Log(Uid),
}

/// One refusal, as seen once.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// CSI driver.
    pub driver: SharedStr,
    /// The key that is locked.
    pub key: LockKey,
    /// Who saw it.
    pub witness: Witness,
    /// When it began, if the witness tells; else as `at`.
    pub first: Timestamp,
    /// When it was seen.
    pub at: Timestamp,
    /// The message, cut short.
    pub message: Arc<str>,
}

/// Refusals of one key by one witness.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The first of the unbroken series.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
    /// How many.
    pub count: u64,
    /// The latest message.
    pub message: Arc<str>,
}

impl Sighting {
    /// Whether the series may still go on: its last refusal is no longer ago than the longest pause in one.
    pub fn goes_on(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) <= SERIES_GAP
    }
}

/// Longest pause between two refusals of one series: the sidecars' backoff ends at 5 minutes, and a call
/// may take 150 s to be refused (domain facts: external-provisioner, external-snapshotter, Rook defaults).
const SERIES_GAP: SignedDuration = SignedDuration::from_secs(5 * 60 + 150 + 30);

/// Keys remembered per driver: a flood of made-up keys must not fill memory.
const MAX_KEYS: usize = 10_000;

/// How many of these Events may fill: what the drivers themselves say always finds room.
const MAX_KEYS_OF_EVENTS: usize = MAX_KEYS / 2;

/// How many series the Events of one namespace may begin: whoever writes them at will keeps out nobody else's.
const MAX_SERIES_OF_NAMESPACE: usize = 500;

/// Refusals by driver and key, then by witness.
#[derive(Debug, Default)]
pub struct Refusals {
    by_key: HashMap<(SharedStr, LockKey), BTreeMap<Witness, Sighting>>,
    /// How many of these series Events tell of, by namespace.
    of_events: HashMap<SharedStr, usize>,
}

impl Refusals {
    /// Adds one refusal: to its series, or as the start of a new one.
    pub fn note(&mut self, refusal: Refusal) {
        let Refusal {
            driver,
            key,
            witness,
            first,
            at,
            message,
        } = refusal;
        let room = match &witness {
            Witness::Event(claim) if !may_tell(claim, &key) => return,
            Witness::Event(_) => MAX_KEYS_OF_EVENTS,
            Witness::Status | Witness::Log(_) => MAX_KEYS,
        };
        let full = self.by_key.len() >= room;
        let id = (driver, key);
        let known = self.by_key.get(&id);
        if full && known.is_none() {
            return;
        }
        if let Witness::Event(claim) = &witness
            && known.is_none_or(|sightings| !sightings.contains_key(&witness))
        {
            let series = self.of_events.entry(claim.namespace.clone()).or_default();
            if *series >= MAX_SERIES_OF_NAMESPACE {
                return;
            }
            *series += 1;
        }
        let sightings = self.by_key.entry(id).or_default();
        match sightings.get_mut(&witness) {
            // Told late, of a series that ended before this one began.
            Some(known) if known.first.duration_since(at) > SERIES_GAP => {}
            Some(known) if at.duration_since(known.last) <= SERIES_GAP => {
                known.first = known.first.min(first);
                known.last = known.last.max(at);
                known.count = known.count.saturating_add(1);
                known.message = message;
            }
            _ => {
                sightings.insert(
                    witness,
                    Sighting {
                        first,
                        last: at,
                        count: 1,
                        message,
                    },
                );
            }
        }
    }

    /// All series, by driver and key.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = (&SharedStr, &LockKey, &BTreeMap<Witness, Sighting>)> {
        self.by_key
            .iter()
            .map(|((driver, key), sightings)| (driver, key, sightings))
    }

    /// The series of one key.
    pub fn of(&self, driver: &SharedStr, key: &LockKey) -> Option<&BTreeMap<Witness, Sighting>> {
        self.by_key.get(&(driver.clone(), key.clone()))
    }

    /// Forgets series that ended.
    pub fn forget_ended(&mut self, now: Timestamp) {
        let of_events = &mut self.of_events;
        self.by_key.retain(|_, sightings| {
            sightings.retain(|witness, seen| {
                let goes_on = seen.goes_on(now);
                if let (false, Witness::Event(claim)) = (goes_on, witness)
                    && let Some(series) = of_events.get_mut(&claim.namespace)
                {
                    *series -= 1;
                }
                goes_on
            });
            !sightings.is_empty()
        });
        of_events.retain(|_, series| *series > 0);
    }
}

/// Whether an Event on `claim` can be about `key`: the provisioner calls what it makes after the claim, and a handle is
/// what the claim is restored from.
fn may_tell(claim: &ObjectKey, key: &LockKey) -> bool {
    match key.claim() {
        Some(uid) if claim.uid.is_meant_by(uid) => true,
        Some(_) => key.is_path(),
        None => key.snapshot().is_none() || key.is_path(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }
    fn refusal(key: &str, second: i64) -> Refusal {
        Refusal {
            driver: "rook-ceph.rbd.csi.ceph.com".into(),
            key: LockKey(key.into()),
            witness: Witness::Status,
            first: at(second),
            at: at(second),
            message: "".into(),
        }
    }

    #[test]
    fn a_series_goes_on_through_the_longest_backoff_and_starts_anew_after_it() {
        let mut refusals = Refusals::default();
        for second in [0, 10, 10 + 480] {
            refusals.note(refusal("pvc-1", second));
        }
        let (_, _, seen) = refusals.iter().next().unwrap();
        assert_eq!(
            (seen[&Witness::Status].first, seen[&Witness::Status].count),
            (at(0), 3)
        );
        refusals.note(refusal("pvc-1", 490 + 481));
        let (_, _, seen) = refusals.iter().next().unwrap();
        assert_eq!(
            (seen[&Witness::Status].first, seen[&Witness::Status].count),
            (at(971), 1)
        );
    }

    #[test]
    fn news_of_long_ago_that_comes_late_does_not_lengthen_the_series() {
        let mut refusals = Refusals::default();
        for second in [7200, 7200 - 480, 0] {
            refusals.note(refusal("pvc-1", second));
        }
        let (_, _, seen) = refusals.iter().next().unwrap();
        let seen = &seen[&Witness::Status];
        assert_eq!((seen.first, seen.last), (at(7200 - 480), at(7200)));
    }

    #[test]
    fn a_flood_of_keys_is_bounded() {
        let mut refusals = Refusals::default();
        for n in 0..MAX_KEYS + 500 {
            refusals.note(refusal(&format!("pvc-{n}"), 0));
        }
        assert_eq!(refusals.iter().count(), MAX_KEYS);
    }

    /// An Event on a claim of that namespace and uid.
    fn event(namespace: &str, uid: &str) -> Witness {
        Witness::Event(ObjectKey {
            kind: ObjectKind::PersistentVolumeClaim,
            namespace: namespace.into(),
            name: "claim".into(),
            uid: uid.into(),
        })
    }

    fn told(by: Witness, key: &str, second: i64) -> Refusal {
        Refusal {
            witness: by,
            ..refusal(key, second)
        }
    }

    #[test]
    fn events_of_one_namespace_keep_out_nobody_elses() {
        let mut refusals = Refusals::default();
        for n in 0..MAX_KEYS {
            refusals.note(told(event("tenant", "flood"), &format!("handle-{n}"), 0));
            // The same key by many claims is as much of a flood.
            refusals.note(told(event("tenant", &format!("uid-{n}")), "handle", 0));
        }
        let series = |refusals: &Refusals| -> usize {
            refusals
                .iter()
                .map(|(_, _, sightings)| sightings.len())
                .sum()
        };
        assert_eq!(series(&refusals), MAX_SERIES_OF_NAMESPACE);
        refusals.note(told(event("media", "4e1"), "pvc-4e1", 0));
        assert_eq!(series(&refusals), MAX_SERIES_OF_NAMESPACE + 1);
        refusals.forget_ended(at(3_600));
        refusals.note(told(event("tenant", "flood"), "handle", 3_600));
        assert_eq!(series(&refusals), 1);
    }

    #[test]
    fn a_flood_of_events_leaves_room_for_what_a_driver_says() {
        let mut refusals = Refusals::default();
        for n in 0..MAX_KEYS {
            let namespace = format!("tenant-{}", n % 100);
            refusals.note(told(event(&namespace, "flood"), &format!("handle-{n}"), 0));
        }
        assert_eq!(refusals.iter().count(), MAX_KEYS_OF_EVENTS);
        refusals.note(refusal("pvc-of-somebody", 0));
        let somebody = LockKey("pvc-of-somebody".into());
        assert!(
            refusals
                .of(&"rook-ceph.rbd.csi.ceph.com".into(), &somebody)
                .is_some()
        );
    }
}
