//! Operation locks: keys refused for longer than load or a slow call explains.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::lock_threshold::{Threshold, Wait};
use super::waiters::{Waiters, Waiting, restored_from, waiting};
use super::{DetectionSettings, Finding, FindingReason};
use crate::api::{LockKey, ObjectKey, SharedStr, Uid};
use crate::csi::ErrorClass;
use crate::model::records::{Content, StatusError};
use crate::model::{Model, Witness};

/// Keys of a driver that it has refused at least twice, but not yet for as long as a lock.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormingLocks {
    /// CSI driver.
    pub driver: SharedStr,
    /// Number of keys for which an object waits.
    pub count: usize,
    /// Time of the first refusal of the key that has been refused for longest.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Time at which that key becomes a lock if it is still refused.
    #[schemars(with = "String")]
    pub due: Timestamp,
}

/// Findings about operation locks, and the keys that may become some, by driver.
pub fn detect(
    model: &Model,
    settings: &DetectionSettings,
    now: Timestamp,
) -> (Vec<Finding>, Vec<FormingLocks>) {
    let mut series: HashMap<(&SharedStr, LockKey), Series> = HashMap::new();
    for (driver, key, span, message) in
        reported_refusals(model, now, Sources::All).chain(status_refusals(model, now))
    {
        series.entry((driver, key)).or_default().add(span, message);
    }
    if series.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let waiters = Waiters::of(model);
    let mut acquired = Acquired::default();
    let mut by_driver: BTreeMap<&SharedStr, Vec<Refused>> = BTreeMap::new();
    for ((driver, key), series) in series {
        let acquired = acquired.by(model, driver);
        let span = series.since(acquired);
        let Some(((first, last), waiting)) = span.zip(waiting(model, &key, &waiters)) else {
            continue;
        };
        let created = waiting.created;
        by_driver.entry(driver).or_default().push(Refused {
            key,
            wait: Wait {
                first,
                last,
                created,
            },
            waiting,
            messages: series.messages,
        });
    }
    let (mut locks, mut forming) = (Vec::new(), Vec::new());
    for (driver, refused) in by_driver {
        let Some(entry) = settings.drivers.find(driver) else {
            continue;
        };
        let threshold = Threshold::of(&settings.detect, entry);
        let waits = by_object(&refused);
        let created = model.creations.latest(driver).map(|latest| latest.at.at());
        let jam = threshold.jam(&waits, created);
        let is_jam = threshold.is_jam(&waits, created, now);
        let (locked, young): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|it| threshold.is_lock(it.wait, is_jam));
        locks.extend(locked.into_iter().map(|it| it.into_finding(driver)));
        // A single refusal may be the last one.
        let young = young.iter().map(|it| it.wait);
        let young: Vec<_> = young.filter(|wait| wait.last > wait.first).collect();
        let since = young.iter().map(|wait| wait.first).min();
        let due = young.iter().map(|wait| threshold.due(*wait, jam)).min();
        forming.extend(since.zip(due).map(|(since, due)| FormingLocks {
            driver: driver.clone(),
            count: young.len(),
            since,
            due,
        }));
    }
    (locks, forming)
}

/// A key that the present leader refuses, and for which an object waits.
struct Refused {
    key: LockKey,
    wait: Wait,
    waiting: Waiting,
    messages: Vec<String>,
}

impl Refused {
    fn into_finding(self, driver: &SharedStr) -> Finding {
        Finding {
            what: FindingReason::OperationLock(self.key),
            object: Some(self.waiting.object),
            since: self.wait.first,
            driver: Some(driver.clone()),
            class: self.waiting.class,
            bytes: self.waiting.bytes,
            restores: None,
            chain: Vec::new(),
            evidence: self.messages,
        }
    }
}

/// The refusals of each object that waits. Two keys may name the same object.
fn by_object(refused: &[Refused]) -> Vec<Wait> {
    let mut by_object: HashMap<&ObjectKey, Wait> = HashMap::new();
    for it in refused {
        let wait = by_object.entry(&it.waiting.object).or_insert(it.wait);
        wait.first = wait.first.min(it.wait.first);
        wait.last = wait.last.max(it.wait.last);
    }
    by_object.into_values().collect()
}

/// When a refusal in a status may become a lock: alone, in a jam, and once the driver has created nothing for long enough. It
/// counts from the takeover of the present leader, as the refusals of its predecessors do not count. Refusals in Events and
/// logs have no due time: they last from their first to their latest report.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let mut acquired = Acquired::default();
    let mut waiters = None;
    let dues = locked_statuses(model).filter_map(move |(content, error, key)| {
        let entry = settings.drivers.find(&content.driver)?;
        let waiters = waiters.get_or_insert_with(|| Waiters::of(model));
        let acquired = acquired.by(model, &content.driver);
        let first = acquired.map_or(error.since, |acquired| acquired.max(error.since));
        let wait = Wait {
            first,
            last: first,
            created: waiting(model, &key, waiters)?.created,
        };
        let created = model.creations.latest(&content.driver);
        let created = created.map(|latest| latest.at.at());
        Some(Threshold::of(&settings.detect, entry).dues(wait, created))
    });
    dues.flatten()
}

/// Time at which the present leader of each driver took over. Looked up once per driver, as there are thousands of keys.
#[derive(Default)]
struct Acquired<'m>(HashMap<&'m SharedStr, Option<Timestamp>>);

impl<'m> Acquired<'m> {
    fn by(&mut self, model: &Model, driver: &'m SharedStr) -> Option<Timestamp> {
        *self
            .0
            .entry(driver)
            .or_insert_with(|| model.provisioner(driver)?.acquired())
    }
}

/// Every value that [`operation`] returns.
pub const OPERATIONS: [&str; 3] = ["create_volume", "create_snapshot", "existing_volume"];

/// Kind of operation that holds the key; a metric label. `existing_volume`: the key is the handle of an existing volume or
/// snapshot, as a key that is a path may be.
pub fn operation(key: &LockKey) -> &'static str {
    if key.is_path() {
        "existing_volume"
    } else if key.claim().is_some() {
        "create_volume"
    } else if key.snapshot().is_some() {
        "create_snapshot"
    } else {
        "existing_volume"
    }
}

type Span = (Timestamp, Timestamp);

/// Maximum number of different messages shown per key.
const MAX_MESSAGES: usize = 10;

/// The reports of all witnesses of one key.
#[derive(Default)]
struct Series {
    spans: Vec<Span>,
    messages: Vec<String>,
}

impl Series {
    fn add(&mut self, span: Span, message: String) {
        self.spans.push(span);
        if self.messages.len() < MAX_MESSAGES && !self.messages.contains(&message) {
            self.messages.push(message);
        }
    }

    /// First and last refusal by the present leader. A restart empties the lock table, so refusals by its predecessor do
    /// not count.
    fn since(&self, acquired: Option<Timestamp>) -> Option<Span> {
        let clip = |(first, last): &Span| match acquired {
            Some(acquired) if *last < acquired => None,
            Some(acquired) => Some(((*first).max(acquired), *last)),
            None => Some((*first, *last)),
        };
        self.spans
            .iter()
            .filter_map(clip)
            .reduce(|(first, last), (other_first, other_last)| {
                (first.min(other_first), last.max(other_last))
            })
    }
}

/// Keys whose refusal is proven: by the driver's log, or by its sidecar in a status. An Event proves nothing.
pub fn proven(model: &Model, driver: &SharedStr, now: Timestamp) -> HashSet<LockKey> {
    reported_refusals(model, now, Sources::DriverOnly)
        .chain(status_refusals(model, now))
        .filter(|(of, ..)| *of == driver)
        .map(|(_, key, ..)| key)
        .collect()
}

/// Sources of refusals that count.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Sources {
    /// Events on claims, too, which anybody may write.
    All,
    /// The driver's logs and its sidecar's statuses.
    DriverOnly,
}

/// Whether an Event can come from the provisioner: it is on an existing claim, and about a driver that a class of the
/// cluster names. The API server refuses an Event on an object of another namespace, but checks neither the object's uid
/// nor the reporter.
fn is_credible(model: &Model, driver: &SharedStr, claim: &ObjectKey, key: &LockKey) -> bool {
    let Some(known) = model.claims.get(&claim.namespace, &claim.name) else {
        return false;
    };
    let of_claim = key
        .claim()
        .is_some_and(|uid| known.meta.uid.is_meant_by(uid))
        || restored_from(model, known).is_some_and(|handle| *handle == *key.0);
    known.meta.uid == claim.uid && of_claim && model.has_class_of(driver)
}

/// Ongoing refusals seen in Events and logs. A series that has ended is left out, since another witness must not join it to
/// a new one. A log counts only while its pod leads.
fn reported_refusals(
    model: &Model,
    now: Timestamp,
    sources: Sources,
) -> impl Iterator<Item = (&SharedStr, LockKey, Span, String)> {
    let mut leaders: HashMap<&SharedStr, Vec<&Uid>> = HashMap::new();
    for (driver, _, sightings) in model.refusals.iter() {
        // There may be thousands of drivers that only Events name.
        if !sightings.keys().any(|it| matches!(it, Witness::Log(_))) {
            continue;
        }
        leaders.entry(driver).or_insert_with(|| {
            model
                .provisioner(driver)
                .map_or_else(Vec::new, |provisioner| {
                    let leading = model.replicas(&provisioner).filter(|replica| replica.leads);
                    leading.map(|replica| &replica.pod.meta.uid).collect()
                })
        });
    }
    model
        .refusals
        .iter()
        .flat_map(move |(driver, key, sightings)| {
            let leading = leaders.get(driver).cloned().unwrap_or_default();
            sightings
                .iter()
                .filter(move |(_, seen)| seen.goes_on(now))
                .filter(move |(witness, _)| match witness {
                    Witness::Log(pod) => leading.contains(&pod),
                    Witness::Event(claim) => {
                        sources == Sources::All && is_credible(model, driver, claim, key)
                    }
                    Witness::Status => true,
                })
                .map(move |(_, seen)| {
                    (
                        driver,
                        key.clone(),
                        (seen.first, seen.last),
                        seen.message.to_string(),
                    )
                })
        })
}

/// Refusals in a status. The sidecar writes an identical message only once, so a refusal in a status is ongoing until now.
fn status_refusals(
    model: &Model,
    now: Timestamp,
) -> impl Iterator<Item = (&SharedStr, LockKey, Span, String)> {
    locked_statuses(model).map(move |(content, error, key)| {
        let span = (error.since, now);
        (&content.driver, key, span, error.message.to_string())
    })
}

/// Contents whose status has a refusal. It is over once there is a handle: the driver has accepted the snapshot since.
fn locked_statuses(model: &Model) -> impl Iterator<Item = (&Content, &StatusError, LockKey)> {
    let refused = model
        .contents
        .needs_attention()
        .filter(|it| it.handle.is_none());
    refused.filter_map(|content| {
        let error = content.error.as_deref()?;
        let ErrorClass::Locked(key) = &error.class else {
            return None;
        };
        // The driver returns the key of the volume or of the snapshot, but the snapshot waits.
        let key = match content.snapshot.as_ref() {
            Some(uid) if key.claim().is_none() && key.snapshot().is_none() => {
                LockKey(format!("snapshot-{uid}").into())
            }
            _ => key.clone(),
        };
        Some((content, error, key))
    })
}
