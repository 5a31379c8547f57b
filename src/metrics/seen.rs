//! Writes the state of the observation, and the build of the program.

use std::fmt;

use super::families as f;
use super::family::Encoder;
use crate::config::Mode;
use crate::findings::DoubtKind;
use crate::model::{Kind, WatchState};
use crate::state::view::View;

/// The commit that the program was built from: set by the release, so that no other build depends on the commit.
pub const REVISION: Option<&str> = match option_env!("LOCKSMITH_REVISION") {
    Some(revision) if !revision.is_empty() => Some(revision),
    _ => None,
};

/// Value of the label `revision` of a build whose commit is not known.
pub const UNKNOWN_REVISION: &str = "unknown";

pub(super) fn encode(view: &View, to: &mut Encoder<'_>) -> fmt::Result {
    let freshness = &view.freshness;
    to.gauges(
        &f::WATCH_SYNCED,
        kinds(|kind| Some(i64::from(freshness.trusted(kind)))),
    )?;
    let absent = |kind| i64::from(*freshness.of(kind) == WatchState::NotServed);
    to.gauges(&f::WATCH_API_ABSENT, kinds(|kind| Some(absent(kind))))?;
    let confirmed = |kind| freshness.at(kind).map(jiff::Timestamp::as_second);
    to.gauges(&f::WATCH_CONFIRMED, kinds(confirmed))?;
    let known = view.objects.iter();
    to.gauges(
        &f::OBJECTS,
        known.map(|(kind, count)| ([kind.as_str()], *count)),
    )?;
    let doubts = view.doubts.iter();
    let none = DoubtKind::ALL
        .iter()
        .filter(|kind| !view.doubts.iter().any(|doubt| doubt.kind == **kind));
    to.gauges(
        &f::DOUBTS,
        doubts
            .map(|doubt| ([doubt.kind.as_str(), &*doubt.subject], 1_u64))
            .chain(none.map(|kind| ([kind.as_str(), ""], 0))),
    )?;
    to.gauge(&f::OBSERVATION_COMPLETE, Some(u32::from(view.complete())))?;
    let provisioners = || view.provisioners.iter();
    let found = provisioners().map(|it| ([&*it.driver], u32::from(it.workload.is_some())));
    to.gauges(&f::PROVISIONER_FOUND, found)?;
    let logs = provisioners().flat_map(|it| {
        let unreadable = it.unreadable.len();
        [("followed", it.followed), ("unreadable", unreadable)]
            .map(|(state, count)| ([&*it.driver, state], count))
    });
    to.gauges(&f::PROVISIONER_LOGS, logs)?;
    to.gauge(&f::OBSERVATION, Some(view.at.as_second()))?;
    let revision = REVISION.unwrap_or(UNKNOWN_REVISION);
    let build = [env!("CARGO_PKG_VERSION"), revision];
    to.gauges(&f::BUILD_INFO, [(build, 1_u64)])?;
    let modes = [Mode::Observe, Mode::Plan, Mode::Act];
    to.gauges(
        &f::MODE,
        modes.map(|mode| ([mode.as_str()], u64::from(mode == view.mode))),
    )
}

fn kinds(value: impl Fn(Kind) -> Option<i64>) -> impl Iterator<Item = ([&'static str; 1], i64)> {
    Kind::ALL
        .into_iter()
        .filter_map(move |kind| Some(([kind.as_str()], value(kind)?)))
}
