//! Refused operations: their witness, first and last occurrence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::api::{LockKey, ObjectKey, SharedStr, Uid};

/// Source of the report of a refusal.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// A Kubernetes Event on this claim. Anybody with the right to create Events in its namespace can forge it.
    Event(ObjectKey),
    /// `status.error` of a VolumeSnapshot or VolumeSnapshotContent.
    Status,
    /// The log of the driver's container in this pod.
    Log(Uid),
}

/// One report of a refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// CSI driver.
    pub driver: SharedStr,
    /// The locked key.
    pub key: LockKey,
    /// Source of the report.
    pub witness: Witness,
    /// Start of the refusals, if the witness reports it; otherwise equal to `at`.
    pub first: Timestamp,
    /// Time of the report.
    pub at: Timestamp,
    /// The message, shortened.
    pub message: Arc<str>,
}

/// A series of refusals of one key by one witness.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// First refusal of the unbroken series.
    pub first: Timestamp,
    /// Latest refusal.
    pub last: Timestamp,
    /// Number of refusals.
    pub count: u64,
    /// The latest message.
    pub message: Arc<str>,
}

impl Sighting {
    /// Whether the series may be ongoing: the last refusal is no older than the longest pause in a series.
    pub fn goes_on(&self, now: Timestamp) -> bool {
        now.duration_since(self.last) <= SERIES_GAP
    }
}

/// Longest pause between two refusals of one series: the sidecars' backoff is at most 5 minutes, and a call may take 150 s
/// to be refused (external-provisioner and external-snapshotter with Rook's defaults).
const SERIES_GAP: SignedDuration = SignedDuration::from_secs(5 * 60 + 150 + 30);

/// Maximum number of keys per driver: a flood of forged keys must not fill the memory.
const MAX_KEYS: usize = 10_000;

/// Maximum number of these keys that come from Events, so that there is always room for those that drivers report.
const MAX_KEYS_OF_EVENTS: usize = MAX_KEYS / 2;

/// Maximum number of series from Events of one namespace, so that a tenant cannot crowd out others.
const MAX_SERIES_OF_NAMESPACE: usize = 500;

/// Refusals by driver and key, then by witness.
#[derive(Debug, Default)]
pub struct Refusals {
    by_key: HashMap<(SharedStr, LockKey), BTreeMap<Witness, Sighting>>,
    /// Number of these series that come from Events, by namespace.
    of_events: HashMap<SharedStr, usize>,
}

impl Refusals {
    /// Adds a refusal to its series, or starts a new one.
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
            Witness::Event(claim) if !can_concern(claim, &key) => return,
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
            // A late report, about a series that ended before this one began.
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

    /// Drops the series that have ended.
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

/// Whether an Event on `claim` can be about `key`: the provisioner names the volume after the claim, and a handle may be
/// the claim's data source.
fn can_concern(claim: &ObjectKey, key: &LockKey) -> bool {
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
    fn series_survives_the_longest_backoff() {
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
    fn late_report_does_not_extend_the_series() {
        let mut refusals = Refusals::default();
        for second in [7200, 7200 - 480, 0] {
            refusals.note(refusal("pvc-1", second));
        }
        let (_, _, seen) = refusals.iter().next().unwrap();
        let seen = &seen[&Witness::Status];
        assert_eq!((seen.first, seen.last), (at(7200 - 480), at(7200)));
    }

    #[test]
    fn number_of_keys_is_bounded() {
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
    fn events_of_one_namespace_do_not_crowd_out_others() {
        let mut refusals = Refusals::default();
        for n in 0..MAX_KEYS {
            refusals.note(told(event("tenant", "flood"), &format!("handle-{n}"), 0));
            // One key reported on many claims is a flood, too.
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
    fn event_flood_leaves_room_for_driver_reports() {
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
