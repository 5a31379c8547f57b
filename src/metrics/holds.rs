//! Writes the holds that the API server enforces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::families as f;
use super::family::Encoder;
use super::stuck::{MAX_SERIES, ranks, volumes};
use crate::state::view::View;

/// `now` decides, not the time of the view: a deadline passes also while nothing is observed.
pub(super) fn encode(view: &View, now: Timestamp, to: &mut Encoder<'_>) -> fmt::Result {
    let spans = spans(view, now);
    let stuck_not = |finding: &&crate::findings::Finding| !finding.what.is_stuck();
    let held = view.findings.iter().filter(stuck_not);
    let mut counts: BTreeMap<&str, BTreeSet<[&str; 2]>> = BTreeMap::new();
    for [kind, namespace, name, _] in spans.keys() {
        let of_namespace = counts.entry(namespace).or_default();
        of_namespace.insert([kind, name]);
    }
    let counts = counts.into_iter();
    to.gauges(
        &f::HOLDS,
        counts.map(|(namespace, held)| ([namespace], held.len() as u64)),
    )?;
    let mut rank = ranks();
    let listed: Vec<_> = spans
        .iter()
        .filter(|([_, namespace, ..], _)| rank(namespace) <= MAX_SERIES)
        .collect();
    let each = |when: fn(&Span) -> Timestamp| {
        let listed = listed.iter();
        listed.map(move |(labels, span)| (**labels, when(span).as_second()))
    };
    to.gauges(&f::HOLD_SINCE, each(|span| span.since))?;
    to.gauges(&f::HOLD_UNTIL, each(|span| span.until))?;
    to.gauge(
        &f::HOLD_POLICY_READY,
        Some(usize::from(view.hold_policy.is_none())),
    )?;
    to.gauges(&f::HELD_STORAGE, volumes(held))
}

/// Start and end of a hold.
struct Span {
    since: Timestamp,
    until: Timestamp,
}

/// The holds at `now` by their labels. Several planned holds of one source are one series: the earliest start, the latest
/// deadline.
fn spans(view: &View, now: Timestamp) -> BTreeMap<[&str; 4], Span> {
    let mut spans: BTreeMap<[&str; 4], Span> = BTreeMap::new();
    for hold in view.holds.iter().filter(|hold| now < hold.until) {
        let object = &hold.object;
        let run = hold.run.as_deref().unwrap_or_default();
        let labels = [object.kind.as_str(), &object.namespace, &object.name, run];
        let span = spans.entry(labels).or_insert(Span {
            since: hold.since,
            until: hold.until,
        });
        span.since = span.since.min(hold.since);
        span.until = span.until.max(hold.until);
    }
    spans
}
