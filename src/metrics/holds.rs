//! Writes what this program has switched off.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::families as f;
use super::family::Encoder;
use super::stuck::{LISTED, at_most, volumes};
use crate::model::ObjectKey;
use crate::view::{HoldView, View};

/// The clock counts here, and not when the view was taken: a deadline passes also while nothing is looked at.
pub(super) fn encode(view: &View, now: Timestamp, to: &mut Encoder<'_>) -> fmt::Result {
    let overdue = view.holds.iter().filter(|hold| hold.until < now).count();
    let held = view
        .findings
        .iter()
        .filter(|finding| !finding.what.is_stuck());
    to.gauges(
        &f::HOLDS,
        by_namespace(view.holds.iter().map(|hold| &hold.object)),
    )?;
    to.gauge(
        &f::HOLDS_PAST_DEADLINE,
        (overdue > 0 || view.complete()).then_some(overdue),
    )?;
    to.gauges(&f::HOLD_SINCE, each(view, |hold| hold.since))?;
    to.gauges(&f::HOLD_UNTIL, each(view, |hold| hold.until))?;
    to.gauges(
        &f::UNREADABLE_HOLDS,
        by_namespace(view.unreadable_holds.iter()),
    )?;
    to.gauges(&f::HELD_STORAGE, volumes(held))
}

fn by_namespace<'v>(
    objects: impl Iterator<Item = &'v ObjectKey>,
) -> impl Iterator<Item = ([&'v str; 1], u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for object in objects {
        *counts.entry(&object.namespace).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts.map(|(namespace, count)| ([namespace], count))
}

fn each(
    view: &View,
    when: impl Fn(&HoldView) -> Timestamp,
) -> impl Iterator<Item = ([&str; 4], i64)> {
    let mut few = at_most(LISTED);
    let listed = view.holds.iter();
    let listed = listed.filter(move |hold| few(&hold.object.namespace));
    listed.map(move |hold| {
        let object = &hold.object;
        let labels = [
            object.kind.as_str(),
            &object.namespace,
            &object.name,
            &hold.run,
        ];
        (labels, when(hold).as_second())
    })
}
