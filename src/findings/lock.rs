//! Operation locks: keys refused for longer than load or most slow calls explain.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::jam::{JamThresholds, OwnRefusals};
use super::refusal_reports::{
    Proof, Report, Span, driver_reports, locked_statuses, proof_of, reports,
};
use super::waiters::{Waiters, Waiting, waiting};
use super::{DetectionSettings, Finding, FindingReason};
use crate::api::{LockKey, SharedStr};
use crate::config::{Config, Detect, Driver, Drivers};
use crate::model::{Kind, Model};

/// Shortest duration of refusals that counts as a lock: a healthy cluster under load refuses for less than this (ceph-csi #6516).
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
    /// Earliest time at which one of these keys becomes a lock, if it is still refused and the driver creates nothing.
    #[schemars(with = "String")]
    pub due: Timestamp,
}

/// Findings about operation locks, and the keys that may become some, by driver.
pub fn detect(
    model: &Model,
    settings: &DetectionSettings,
    now: Timestamp,
) -> (Vec<Finding>, Vec<FormingLocks>) {
    let DetectionSettings {
        detect, drivers, ..
    } = settings;
    locks(model, detect, drivers, reports(model, now), now)
}

/// Keys of the operation locks that the driver's log and its sidecar's statuses show by themselves. An Event proves nothing, nor how
/// long a key has been refused: anybody can write one with any times about a claim of their own.
pub fn proven(
    model: &Model,
    config: &Config,
    driver: &SharedStr,
    now: Timestamp,
) -> HashSet<LockKey> {
    let reports = driver_reports(model, now).filter(|report| report.driver == driver);
    let (locks, _) = locks(model, &config.detect, &config.drivers, reports, now);
    let keys = locks.into_iter().filter_map(|lock| match lock.what {
        FindingReason::OperationLock(key) => Some(key),
        _ => None,
    });
    keys.collect()
}

/// The locks in `reports`, and the keys that may become some.
fn locks<'m>(
    model: &'m Model,
    detect: &Detect,
    drivers: &Drivers,
    reports: impl Iterator<Item = Report<'m>>,
    now: Timestamp,
) -> (Vec<Finding>, Vec<FormingLocks>) {
    let mut series: HashMap<(&SharedStr, LockKey), Series<'_>> = HashMap::new();
    for report in reports {
        let of_key = series.entry((report.driver, report.key.clone()));
        of_key.or_default().reports.push(report);
    }
    if series.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let waiters = Waiters::of(model);
    let mut acquired = Acquired::default();
    let mut by_driver: BTreeMap<&SharedStr, Vec<Refused>> = BTreeMap::new();
    for ((driver, key), series) in series {
        let acquired = acquired.by(model, driver);
        let span = series.span(acquired);
        if let Some((span, waiting)) = span.zip(waiting(model, &key, &waiters)) {
            by_driver.entry(driver).or_default().push(Refused {
                span,
                own: series.own(acquired, waiting.created),
                messages: series.messages(),
                waiting,
                key,
            });
        }
    }
    let (mut locks, mut forming) = (Vec::new(), Vec::new());
    let can_be_jam = can_be_jam(model);
    for (driver, refused) in by_driver {
        let Some(entry) = drivers.find(driver) else {
            continue;
        };
        let alone = alone(detect, entry);
        let thresholds = JamThresholds::of(detect, entry, alone);
        let jam = thresholds.filter(|_| can_be_jam).and_then(|thresholds| {
            let own = refused.iter().filter_map(|it| it.own);
            thresholds.jam(own, latest_creation(model, driver), now)
        });
        let is_lock = |it: &Refused| {
            let (first, last) = it.span;
            last.duration_since(first) > alone
                || jam.zip(it.own).is_some_and(|(jam, own)| jam.has(own))
        };
        let (locked, young): (Vec<_>, Vec<_>) = refused.into_iter().partition(is_lock);
        locks.extend(locked.into_iter().map(|it| it.into_finding(driver)));
        // A single refusal may be the last one.
        let young: Vec<_> = young.iter().filter(|it| it.span.1 > it.span.0).collect();
        let Some(since) = young.iter().map(|it| it.span.0).min() else {
            continue;
        };
        let due = young.iter().flat_map(|it| {
            let jammed = jam.zip(it.own).and_then(|(jam, own)| jam.due(own));
            it.span.0.checked_add(alone).ok().into_iter().chain(jammed)
        });
        forming.push(FormingLocks {
            driver: driver.clone(),
            count: young.len(),
            since,
            due: due.min().unwrap_or(Timestamp::MAX),
        });
    }
    (locks, forming)
}

/// A key that the present leader refuses, and for which an object waits.
struct Refused {
    key: LockKey,
    /// First and latest refusal by any witness.
    span: Span,
    own: Option<OwnRefusals>,
    waiting: Waiting,
    messages: Vec<String>,
}

impl Refused {
    fn into_finding(self, driver: &SharedStr) -> Finding {
        Finding {
            what: FindingReason::OperationLock(self.key),
            object: Some(self.waiting.object),
            since: self.span.0,
            driver: Some(driver.clone()),
            class: self.waiting.class,
            bytes: self.waiting.bytes,
            restores: None,
            chain: Vec::new(),
            evidence: self.messages,
        }
    }
}

/// Time for which a single key must have been refused.
fn alone(detect: &Detect, driver: &Driver) -> SignedDuration {
    match detect.locked_after {
        Some(after) => after.signed(),
        None => driver.grpc_timeout.signed().saturating_mul(2).max(SHORTEST),
    }
}

/// Whether there can be a jam: it is known who leads and what a driver creates. Slow storage makes all calls slow at once, so there is
/// no jam either while a CephCluster reports a warning or an error.
fn can_be_jam(model: &Model) -> bool {
    let needed = [
        Kind::CephClusters,
        Kind::Leases,
        Kind::PersistentVolumes,
        Kind::VolumeSnapshotContents,
    ];
    let is_known = needed.into_iter().all(|kind| model.freshness.trusted(kind));
    let health = model.ceph_clusters.iter().map(|cluster| &cluster.health);
    let mut ill = health.filter(|health| health.as_deref() != Some("HEALTH_OK"));
    is_known && ill.next().is_none()
}

/// Time of a driver's latest creation.
fn latest_creation(model: &Model, driver: &SharedStr) -> Option<Timestamp> {
    model.creations.latest(driver).map(|latest| latest.at.at())
}

/// When a refusal in a status may become a lock, and when a driver that refuses has created nothing for as long as in a jam. A
/// refusal counts from the takeover of the present leader, as those of its predecessors do not count. Refusals in Events and
/// logs have no due time of their own: they last from their first to their latest report.
pub fn dues<'a>(
    model: &'a Model,
    settings: &'a DetectionSettings,
) -> impl Iterator<Item = Timestamp> + use<'a> {
    let can_be_jam = can_be_jam(model);
    let thresholds = move |driver: &SharedStr| {
        let entry = settings.drivers.find(driver)?;
        let alone = alone(&settings.detect, entry);
        let jam = JamThresholds::of(&settings.detect, entry, alone);
        Some((alone, jam.filter(|_| can_be_jam)))
    };
    let idle = move |jam: Option<JamThresholds>, driver: &SharedStr| {
        jam.and_then(|jam| jam.idle(latest_creation(model, driver)))
    };
    let mut acquired = Acquired::default();
    let of_statuses = locked_statuses(model).filter_map(move |(content, error, key)| {
        let (alone, jam) = thresholds(&content.driver)?;
        let acquired = acquired.by(model, &content.driver);
        let first = acquired.map_or(error.since, |acquired| acquired.max(error.since));
        let jammed = jam.and_then(|jam| {
            let span = (error.since, error.since);
            jam.due(own_refusals(proof_of(content, key)?, span, acquired, None)?)
        });
        let dues = [
            first.checked_add(alone).ok(),
            jammed,
            idle(jam, &content.driver),
        ];
        Some(dues.into_iter().flatten())
    });
    let drivers: BTreeSet<_> = model.refusals.iter().map(|(driver, ..)| driver).collect();
    let of_drivers = drivers
        .into_iter()
        .filter_map(move |driver| idle(thresholds(driver)?.1, driver));
    of_statuses.flatten().chain(of_drivers)
}

/// Proven refusals of an object's own call by the present leader. `created` is the creation time of the object that waits, unless
/// it is being deleted. A status from before the takeover proves nothing: the new leader may not have called yet.
fn own_refusals(
    proof: Proof,
    span: Span,
    acquired: Option<Timestamp>,
    created: Option<Timestamp>,
) -> Option<OwnRefusals> {
    let acquired = acquired?;
    let created = match proof {
        Proof::Log => created,
        Proof::Status(_) if span.0 < acquired => None,
        Proof::Status(created) => created,
    };
    let callable = created?.max(acquired);
    let (first, last) = clip(span, Some(acquired))?;
    Some(OwnRefusals {
        first,
        last,
        callable,
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

/// The lock is on an existing volume or snapshot.
pub(super) const EXISTING_VOLUME: &str = "existing_volume";

/// Every value that [`operation`] returns.
pub const OPERATIONS: [&str; 3] = ["create_volume", "create_snapshot", EXISTING_VOLUME];

/// Kind of operation that holds the key; a metric label. `existing_volume`: the key is the handle of an existing volume or
/// snapshot, as a key that is a path may be.
pub fn operation(key: &LockKey) -> &'static str {
    if key.is_path() {
        EXISTING_VOLUME
    } else if key.claim().is_some() {
        "create_volume"
    } else if key.snapshot().is_some() {
        "create_snapshot"
    } else {
        EXISTING_VOLUME
    }
}

/// Maximum number of different messages shown per key.
const MAX_MESSAGES: usize = 10;

/// The reports of all witnesses of one key.
#[derive(Default)]
struct Series<'m> {
    reports: Vec<Report<'m>>,
}

impl Series<'_> {
    /// First and last refusal by the present leader.
    fn span(&self, acquired: Option<Timestamp>) -> Option<Span> {
        let spans = self.reports.iter().filter_map(|it| clip(it.span, acquired));
        spans.reduce(|(first, last), (other_first, other_last)| {
            (first.min(other_first), last.max(other_last))
        })
    }

    /// The proven refusals of the object's own call.
    fn own(&self, acquired: Option<Timestamp>, created: Option<Timestamp>) -> Option<OwnRefusals> {
        let own = self.reports.iter();
        let own = own.filter_map(|it| own_refusals(it.proof?, it.span, acquired, created));
        own.reduce(|one, other| OwnRefusals {
            first: one.first.min(other.first),
            last: one.last.max(other.last),
            callable: one.callable.min(other.callable),
        })
    }

    /// Different messages, at most [`MAX_MESSAGES`].
    fn messages(self) -> Vec<String> {
        let mut messages = Vec::new();
        for Report { message, .. } in self.reports {
            if messages.len() < MAX_MESSAGES && !messages.contains(&message) {
                messages.push(message);
            }
        }
        messages
    }
}

/// The part of a span since the present leader's takeover. A restart empties the lock table, so refusals by its predecessor do
/// not count.
fn clip((first, last): Span, acquired: Option<Timestamp>) -> Option<Span> {
    match acquired {
        Some(acquired) if last < acquired => None,
        Some(acquired) => Some((first.max(acquired), last)),
        None => Some((first, last)),
    }
}
