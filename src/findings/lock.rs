//! Operation locks: keys refused for longer than the load of a healthy cluster explains.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{Finding, FindingReason, Policy, snapshot_content};
use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr, Uid};
use crate::config::Driver;
use crate::csi::ErrorClass;
use crate::model::records::{Claim, ClaimPhase, Content, DataSource, Snapshot, StatusError};
use crate::model::{Model, Witness};

/// Shortest duration that counts as a lock: a healthy cluster under load refuses for less than this (ceph-csi #6516).
const SHORTEST: SignedDuration = SignedDuration::from_mins(5);

/// Findings about operation locks.
pub fn detect(model: &Model, policy: &Policy, now: Timestamp) -> Vec<Finding> {
    let mut series: HashMap<(&SharedStr, LockKey), Series> = HashMap::new();
    for (driver, key, span, words) in
        witnessed(model, now, &HEARD_OF_ANYBODY).chain(standing(model, now))
    {
        series.entry((driver, key)).or_default().add(span, words);
    }
    if series.is_empty() {
        return Vec::new();
    }
    let waiters = Waiters::of(model);
    let mut acquired = Acquired::default();
    series
        .into_iter()
        .filter_map(|((driver, key), series)| {
            let entry = policy.drivers.find(driver)?;
            let acquired = acquired.by(model, driver);
            let (first, last) = series.since(acquired)?;
            if last.duration_since(first) <= locked_after(policy, entry) {
                return None;
            }
            let waiting = waiting(model, &key, &waiters)?;
            Some(Finding {
                what: FindingReason::OperationLock(key),
                object: Some(waiting.object),
                since: first,
                driver: Some(driver.clone()),
                class: waiting.class,
                bytes: waiting.bytes,
                restores: None,
                chain: Vec::new(),
                evidence: series.words,
            })
        })
        .collect()
}

/// When each refusal in a status becomes a lock. It counts from the takeover of the present leader, as the refusals of its
/// predecessors do not count. Refusals in Events and logs have no due time: they last from their first to their latest
/// report.
pub fn dues<'a>(model: &'a Model, policy: &'a Policy) -> impl Iterator<Item = Timestamp> + use<'a> {
    let mut acquired = Acquired::default();
    let refused = model
        .contents
        .needs_attention()
        .filter(|it| it.handle.is_none());
    refused.filter_map(move |content| {
        let trouble = content.error.as_deref()?;
        let ErrorClass::Locked(_) = trouble.nature else {
            return None;
        };
        let after = locked_after(policy, policy.drivers.find(&content.driver)?);
        let acquired = acquired.by(model, &content.driver);
        let first = acquired.map_or(trouble.since, |acquired| acquired.max(trouble.since));
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
fn locked_after(policy: &Policy, driver: &Driver) -> SignedDuration {
    match policy.detect.locked_after {
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
const MAX_WORDS: usize = 10;

/// The reports of all witnesses of one key.
#[derive(Default)]
struct Series {
    spans: Vec<Span>,
    words: Vec<String>,
}

impl Series {
    fn add(&mut self, span: Span, words: String) {
        self.spans.push(span);
        if self.words.len() < MAX_WORDS && !self.words.contains(&words) {
            self.words.push(words);
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
    witnessed(model, now, &HEARD_OF_THE_DRIVER)
        .chain(standing(model, now))
        .filter(|(of, ..)| *of == driver)
        .map(|(_, key, ..)| key)
        .collect()
}

/// Whether Events on claims count.
struct Heard {
    events: bool,
}
const HEARD_OF_ANYBODY: Heard = Heard { events: true };
const HEARD_OF_THE_DRIVER: Heard = Heard { events: false };

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
    known.meta.uid == claim.uid && of_claim && model.serves(driver)
}

/// Ongoing refusals seen in Events and logs. A series that has ended is left out, since another witness must not join it to
/// a new one. A log counts only while its pod leads.
fn witnessed<'m>(
    model: &'m Model,
    now: Timestamp,
    heard: &'m Heard,
) -> impl Iterator<Item = (&'m SharedStr, LockKey, Span, String)> {
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
                    Witness::Event(claim) => heard.events && is_credible(model, driver, claim, key),
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
fn standing(
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
            nature: ErrorClass::Locked(key),
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

/// Objects by their uids, whole or abbreviated.
struct ByUid<'m, T> {
    whole: HashMap<&'m Uid, &'m T>,
    /// Sorted by the digits of the uid; built when the first abbreviation is looked up.
    abbreviated: OnceCell<Vec<(String, &'m T)>>,
}

impl<T> Default for ByUid<'_, T> {
    fn default() -> Self {
        Self {
            whole: HashMap::new(),
            abbreviated: OnceCell::new(),
        }
    }
}

impl<'m, T> ByUid<'m, T> {
    fn insert(&mut self, uid: &'m Uid, object: &'m T) {
        self.whole.insert(uid, object);
    }

    /// The object with the uid `text`, whole or abbreviated, if it is only one.
    fn find(&self, text: &str) -> Option<&'m T> {
        if let Some(object) = self.whole.get(&Uid::from(text)) {
            return Some(object);
        }
        if !Uid::may_abbreviate(text) {
            return None;
        }
        let digits = self.abbreviated.get_or_init(|| {
            let digits = self
                .whole
                .iter()
                .map(|(uid, object)| (uid.digits(), *object));
            let mut digits: Vec<_> = digits.collect();
            digits.sort_by(|(one, _), (other, _)| one.cmp(other));
            digits
        });
        let first = digits.partition_point(|(digits, _)| &**digits < text);
        let mut meant = digits[first..]
            .iter()
            .take_while(|(digits, _)| digits.starts_with(text));
        let (_, object) = meant.next()?;
        meant.next().is_none().then_some(*object)
    }
}

/// Every object that waits for its driver, indexed by the keys that may name it.
pub(crate) struct Waiters<'m> {
    claims: ByUid<'m, Claim>,
    snapshots: ByUid<'m, Snapshot>,
    handles: HashMap<&'m str, ObjectKey>,
}

impl<'m> Waiters<'m> {
    /// Reads each table once, so that many keys can be looked up.
    pub(crate) fn of(model: &'m Model) -> Self {
        let mut waiters = Self {
            claims: ByUid::default(),
            snapshots: ByUid::default(),
            handles: HashMap::new(),
        };
        for content in model.contents.needs_attention() {
            if content.meta.deleting.is_some() {
                let object = content.meta.key(ObjectKind::VolumeSnapshotContent);
                waiters.add_handles(content, &object);
            }
        }
        for snapshot in model.snapshots.needs_attention() {
            waiters.snapshots.insert(&snapshot.meta.uid, snapshot);
            if let Some(content) = snapshot_content(model, snapshot)
                && (snapshot.ready != Some(true) || content.meta.deleting.is_some())
            {
                let object = snapshot.meta.key(ObjectKind::VolumeSnapshot);
                waiters.add_handles(content, &object);
            }
        }
        for claim in model.claims.needs_attention() {
            if claim.phase != ClaimPhase::Pending && claim.meta.deleting.is_none() {
                continue;
            }
            waiters.claims.insert(&claim.meta.uid, claim);
            if claim.phase == ClaimPhase::Pending
                && let Some(handle) = restored_from(model, claim)
            {
                // Of several restores, the first by name counts. A snapshot that waits itself has been inserted before.
                let object = || claim.meta.key(ObjectKind::PersistentVolumeClaim);
                waiters.handles.entry(handle).or_insert_with(object);
            }
        }
        waiters
    }

    /// Whether any object waits for the operation that holds `key`.
    pub(crate) fn wait_for(&self, key: &LockKey) -> bool {
        if let Some(claim) = key.claim().and_then(|uid| self.claims.find(uid)) {
            return claim.phase == ClaimPhase::Pending;
        }
        let snapshot = key.snapshot().and_then(|uid| self.snapshots.find(uid));
        snapshot.is_some() || self.handles.contains_key(&*key.0)
    }

    fn add_handles(&mut self, content: &'m Content, object: &ObjectKey) {
        let handles = [&content.handle, &content.volume_handle];
        for handle in handles.into_iter().flatten() {
            self.handles.insert(handle, object.clone());
        }
    }
}

/// Handle of the snapshot that a claim is restored from: a restore takes that snapshot's lock too (ceph-csi before #6354).
fn restored_from<'m>(model: &'m Model, claim: &Claim) -> Option<&'m str> {
    let Some(DataSource::Snapshot(name)) = &claim.data_source else {
        return None;
    };
    let snapshot = model.snapshots.get(&claim.meta.namespace, name)?;
    snapshot_content(model, snapshot)?.handle.as_deref()
}

/// An object that waits for a key.
struct Waiting {
    object: ObjectKey,
    class: Option<SharedStr>,
    bytes: u64,
}

/// The object that waits for `key`, if there is one; a lock that blocks nothing is no finding. A key that names no waiting
/// object may still be the handle of one, as drivers may derive handles from the names they receive.
fn waiting(model: &Model, key: &LockKey, waiters: &Waiters<'_>) -> Option<Waiting> {
    let claim = key.claim().and_then(|uid| waiters.claims.find(uid));
    if let Some(claim) = claim {
        return Some(of_claim(claim));
    }
    let snapshot = key.snapshot().and_then(|uid| waiters.snapshots.find(uid));
    let object = match snapshot {
        Some(snapshot) => snapshot.meta.key(ObjectKind::VolumeSnapshot),
        None => waiters.handles.get(&*key.0)?.clone(),
    };
    if object.kind == ObjectKind::PersistentVolumeClaim {
        let claim = model.claims.get(&object.namespace, &object.name)?;
        return Some(of_claim(claim));
    }
    let snapshot = model.snapshots.get(&object.namespace, &object.name);
    let claim = snapshot.and_then(|snapshot| {
        model
            .claims
            .get(&snapshot.meta.namespace, snapshot.source_claim.as_ref()?)
    });
    Some(Waiting {
        class: claim.and_then(|claim| claim.class.clone()),
        bytes: snapshot.map_or(0, |snapshot| snapshot.bytes(claim)),
        object,
    })
}

fn of_claim(claim: &Claim) -> Waiting {
    Waiting {
        object: claim.meta.key(ObjectKind::PersistentVolumeClaim),
        class: claim.class.clone(),
        bytes: claim.requested,
    }
}
