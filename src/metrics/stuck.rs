//! Writes stuck objects: one series per object, and sums of bounded number.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::Timestamp;

use super::families as f;
use super::family::Encoder;
use crate::findings::storage;
use crate::findings::{Finding, FindingReason, FormingLocks};
use crate::state::view::View;

/// Maximum number of objects per namespace with series of their own, those stuck for longest: a tenant with thousands of
/// broken objects must not inflate a scrape. The sums count all.
pub(super) const MAX_SERIES: usize = 500;

/// Maximum number of objects in all namespaces with series of their own: 5,000 make a body of 2 MiB, 100,000 one of 43 MiB.
pub(super) const MAX_SERIES_IN_ALL: usize = 5_000;

/// Start and bytes of the findings with the same labels.
#[derive(Clone, Copy)]
struct Stuck {
    since: Timestamp,
    bytes: u64,
    count: u64,
}

/// Labels of an object's series.
type OfObject<'v> = [&'v str; 7];

pub(super) fn encode(view: &View, to: &mut Encoder<'_>) -> fmt::Result {
    let objects = by_object(view);
    let sums = sums(&objects);
    let objects = listed(&objects);
    to.gauges(&f::FINDINGS, findings(view))?;
    to.gauges(&f::STUCK_OPERATIONS, each(&sums, |sum| sum.count))?;
    to.gauges(&f::STUCK_OPERATIONS_BYTES, each(&sums, |sum| sum.bytes))?;
    to.gauges(&f::STUCK_OLDEST, each(&sums, |sum| sum.since.as_second()))?;
    to.gauges(&f::FORMING_LOCKS, forming_locks(view))?;
    to.gauges(
        &f::FORMING_LOCKS_OLDEST,
        each_forming(view, |of| of.since.as_second()),
    )?;
    to.gauges(
        &f::STUCK_STORAGE,
        volumes(storage::counted_once(&view.findings)),
    )?;
    to.gauges(
        &f::STUCK_SINCE,
        each(&objects, |object| object.since.as_second()),
    )?;
    to.gauges(&f::STUCK_BYTES, each(&objects, |object| object.bytes))
}

fn each_forming<T>(
    view: &View,
    value: impl Fn(&FormingLocks) -> T,
) -> impl Iterator<Item = ([&str; 1], T)> {
    let of_drivers = view.forming_locks.iter();
    of_drivers.map(move |of| ([&*of.driver], value(of)))
}

/// Number of forming locks by driver. As for findings, a zero is certain.
fn forming_locks(view: &View) -> BTreeMap<[&str; 1], usize> {
    let mut counts = BTreeMap::new();
    if view.is_certain() {
        counts.extend(view.drivers.iter().map(|driver| ([&**driver], 0)));
    }
    counts.extend(each_forming(view, |of| of.count));
    counts
}

/// Number of findings of every kind and reason. Zeros are written only while every watch is synced and there is no doubt.
fn findings(view: &View) -> impl Iterator<Item = ([&str; 2], u64)> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    if view.is_certain() {
        counts.extend(FindingReason::all().map(|labels| (labels, 0)));
    }
    for finding in &view.findings {
        let labels = (finding.what.kind().as_str(), finding.what.reason());
        *counts.entry(labels).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((finding, reason), count)| ([finding, reason], count))
}

/// Stuck objects by their labels. An object that waits for several keys is one series, since its storage is stuck once.
fn by_object(view: &View) -> Vec<(OfObject<'_>, Stuck)> {
    let mut objects: Vec<_> = view.stuck().filter_map(of_object).collect();
    // The findings of a view are almost sorted.
    objects.sort_by_key(|(labels, _)| *labels);
    objects.dedup_by(|(labels, next), (known, stuck)| {
        let same = labels == known;
        if same {
            stuck.since = stuck.since.min(next.since);
            stuck.bytes = stuck.bytes.max(next.bytes);
        }
        same
    });
    objects
}

/// The object of a finding with its labels.
fn of_object(finding: &Finding) -> Option<(OfObject<'_>, Stuck)> {
    let object = finding.object.as_ref()?;
    let [driver, class] = made_of(finding);
    let labels = [
        finding.what.kind().as_str(),
        finding.what.reason(),
        &object.namespace,
        &object.name,
        object.kind.as_str(),
        driver,
        class,
    ];
    let stuck = Stuck {
        since: finding.since,
        bytes: finding.bytes,
        count: 1,
    };
    Some((labels, stuck))
}

/// The objects with series of their own, in the same order.
fn listed<'v>(objects: &[(OfObject<'v>, Stuck)]) -> Vec<(OfObject<'v>, Stuck)> {
    let mut oldest_first: Vec<_> = objects.iter().enumerate().collect();
    oldest_first.sort_by_key(|(_, (_, stuck))| stuck.since);
    // The first of every namespace before the second of any, so that no namespace crowds out another.
    let mut rank = ranks();
    let ranked = oldest_first
        .into_iter()
        .map(|(place, ([_, _, namespace, ..], _))| (rank(namespace), place));
    let mut ranked: Vec<_> = ranked.filter(|(rank, _)| *rank <= MAX_SERIES).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(MAX_SERIES_IN_ALL);
    let mut places: Vec<_> = ranked.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    places.into_iter().map(|place| objects[place]).collect()
}

/// Counts the items of each namespace: 1 for its first.
pub(super) fn ranks<'v>() -> impl FnMut(&'v str) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    move |namespace| {
        let count = counts.entry(namespace).or_default();
        *count += 1;
        *count
    }
}

fn sums<'v>(objects: &[(OfObject<'v>, Stuck)]) -> Vec<([&'v str; 5], Stuck)> {
    let mut sums: BTreeMap<_, Stuck> = BTreeMap::new();
    for ([finding, reason, namespace, _, _, driver, class], object) in objects {
        sums.entry([*finding, *reason, *namespace, *driver, *class])
            .and_modify(|sum| {
                sum.since = sum.since.min(object.since);
                sum.bytes = sum.bytes.saturating_add(object.bytes);
                sum.count += object.count;
            })
            .or_insert(*object);
    }
    sums.into_iter().collect()
}

/// Bytes of `findings` by place, driver and class.
pub(super) fn volumes<'v>(
    findings: impl IntoIterator<Item = &'v Finding>,
) -> BTreeMap<[&'v str; 3], u64> {
    let mut volumes: BTreeMap<_, u64> = BTreeMap::new();
    for finding in findings {
        let namespace = finding
            .object
            .as_ref()
            .map_or("", |object| &object.namespace);
        let [driver, class] = made_of(finding);
        let bytes = volumes.entry([namespace, driver, class]).or_default();
        *bytes = bytes.saturating_add(finding.bytes);
    }
    volumes
}

fn made_of(finding: &Finding) -> [&str; 2] {
    [&finding.driver, &finding.class].map(|name| name.as_deref().unwrap_or_default())
}

fn each<'m, 'v: 'm, const N: usize, V>(
    stuck: &'m [([&'v str; N], Stuck)],
    value: impl Fn(&Stuck) -> V + 'm,
) -> impl Iterator<Item = ([&'v str; N], V)> + 'm {
    stuck
        .iter()
        .map(move |(labels, stuck)| (*labels, value(stuck)))
}
