//! Operation locks: keys refused for longer than the load of a healthy cluster explains.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::waiters::{Waiters, restored_from, waiting};
use super::{DetectionSettings, Finding, FindingReason};
use crate::api::{LockKey, ObjectKey, SharedStr, Uid};
use crate::config::Driver;
use crate::csi::ErrorClass;
use crate::model::records::StatusError;
use crate::model::{Model, Witness};

/// Shortest duration that counts as a lock: a healthy cluster under load refuses for less than this (ceph-csi #6516).
const SHORTEST: SignedDuration = SignedDuration::from_mins(5);

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
    let mut forming: BTreeMap<&SharedStr, FormingLocks> = BTreeMap::new();
    if series.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let waiters = Waiters::of(model);
    let mut acquired = Acquired::default();
    let locks = series
        .into_iter()
        .filter_map(|((driver, key), series)| {
            let entry = settings.drivers.find(driver)?;
            let acquired = acquired.by(model, driver);
            let (first, last) = series.since(acquired)?;
            let after = locked_after(settings, entry);
            let waiting = waiting(model, &key, &waiters)?;
            if last.duration_since(first) <= after {
                // A single refusal may be the last one.
                if last <= first {
                    return None;
                }
                let due = first.checked_add(after).unwrap_or(Timestamp::MAX);
                let of_driver = forming.entry(driver).or_insert_with(|| FormingLocks {
                    driver: driver.clone(),
                    count: 0,
                    since: first,
                    due,
                });
                of_driver.count += 1;
                of_driver.since = of_driver.since.min(first);
                of_driver.due = of_driver.due.min(due);
                return None;
            }
            Some(Finding {
                what: FindingReason::OperationLock(key),
                object: Some(waiting.object),
                since: first,
                driver: Some(driver.clone()),
                class: waiting.class,
                bytes: waiting.bytes,
                restores: None,
                chain: Vec::new(),
                evidence: series.messages,
            })
        })
        .collect();
    (locks, forming.into_values().collect())
}

/// When each refusal in a status becomes a lock. It counts from the takeover of the present leader, as the refusals of its
/// predecessors do not count. Refusals in Events and logs have no due time: they last from their first to their latest
/// report.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let mut acquired = Acquired::default();
    let refused = model
        .contents
        .needs_attention()
        .filter(|it| it.handle.is_none());
    refused.filter_map(move |content| {
        let error = content.error.as_deref()?;
        let ErrorClass::Locked(_) = error.class else {
            return None;
        };
        let after = locked_after(settings, settings.drivers.find(&content.driver)?);
        let acquired = acquired.by(model, &content.driver);
        let first = acquired.map_or(error.since, |acquired| acquired.max(error.since));
        first.checked_add(after).ok()
    })
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

/// Time for which a key must have been refused.
fn locked_after(settings: &DetectionSettings, driver: &Driver) -> SignedDuration {
    match settings.detect.locked_after {
        Some(after) => after.signed(),
        None => driver.grpc_timeout.signed().saturating_mul(2).max(SHORTEST),
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
/// It is over once there is a handle: the driver has accepted the snapshot since.
fn status_refusals(
    model: &Model,
    now: Timestamp,
) -> impl Iterator<Item = (&SharedStr, LockKey, Span, String)> {
    let refused = model
        .contents
        .needs_attention()
        .filter(|it| it.handle.is_none());
    refused.filter_map(move |content| {
        let StatusError {
            since,
            class: ErrorClass::Locked(key),
            message,
        } = content.error.as_deref()?
        else {
            return None;
        };
        // The driver returns the key of the volume or of the snapshot, but the snapshot waits.
        let key = match content.snapshot.as_ref() {
            Some(uid) if key.claim().is_none() && key.snapshot().is_none() => {
                LockKey(format!("snapshot-{uid}").into())
            }
            _ => key.clone(),
        };
        Some((&content.driver, key, (*since, now), message.to_string()))
    })
}
