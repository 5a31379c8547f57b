//! Writes the progress of Remediations. Finished ones are only counted, as their number grows with time.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::families as f;
use super::family::Encoder;
use crate::api::StepName;
use crate::api::remediation::Phase;
use crate::state::view::{RunView, View};

pub(super) fn encode(view: &View, to: &mut Encoder<'_>) -> fmt::Result {
    to.gauges(&f::REMEDIATIONS, phases(view))?;
    to.gauges(
        &f::REMEDIATION_INFO,
        unfinished(view).map(|run| (info(run), 1_u64)),
    )?;
    to.gauges(
        &f::REMEDIATION_CREATED,
        times(view, |run| Some(run.created)),
    )?;
    to.gauges(&f::REMEDIATION_STARTED, times(view, |run| run.started))?;
    to.gauges(&f::REMEDIATION_HELD, held(view))?;
    to.gauges(&f::REMEDIATION_FINISHED, finished(view))?;
    to.gauges(&f::REMEDIATION_WAITS, waits(view))?;
    let breaker = view.breaker();
    to.gauge(
        &f::BREAKER_TRIPPED,
        breaker.map(|breaker| u32::from(breaker.open)),
    )?;
    to.gauge(
        &f::BREAKER_FAILURES,
        breaker.map(|breaker| breaker.failures),
    )?;
    to.gauges(&f::GATE_OPEN, gates(view))
}

fn unfinished(view: &View) -> impl Iterator<Item = &RunView> {
    view.runs.iter().filter(|run| !run.phase.finished())
}

fn info(run: &RunView) -> [&str; 6] {
    [
        &run.namespace,
        &run.name,
        &run.playbook,
        &run.driver,
        run.phase.as_str(),
        run.step.map_or("", StepName::as_str),
    ]
}

fn times(
    view: &View,
    when: impl Fn(&RunView) -> Option<Timestamp>,
) -> impl Iterator<Item = ([&str; 2], i64)> {
    unfinished(view)
        .filter_map(move |run| Some(([&*run.namespace, &*run.name], when(run)?.as_second())))
}

fn held(view: &View) -> impl Iterator<Item = ([&str; 2], u32)> {
    view.runs
        .iter()
        .filter(|run| run.held > 0 || !run.phase.finished())
        .map(|run| ([&*run.namespace, &*run.name], run.held))
}

fn waits(view: &View) -> impl Iterator<Item = ([&str; 4], u64)> {
    unfinished(view).map(|run| {
        let labels = [&*run.namespace, &*run.name, &run.playbook, &*run.driver];
        (labels, u64::from(run.waits_for_a_person()))
    })
}

fn phases(view: &View) -> impl Iterator<Item = ([&str; 3], u64)> {
    let mut counts: BTreeMap<(&str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    for run in &view.runs {
        let none = || Phase::ALL.map(|phase| (phase.as_str(), 0)).into();
        let phases = counts
            .entry((&run.playbook, &run.driver))
            .or_insert_with(none);
        *phases.entry(run.phase.as_str()).or_default() += 1;
    }
    counts.into_iter().flat_map(|((playbook, driver), phases)| {
        phases
            .into_iter()
            .map(move |(phase, count)| ([playbook, driver, phase], count))
    })
}

fn finished(view: &View) -> BTreeMap<[&str; 3], i64> {
    let mut last = BTreeMap::new();
    for run in &view.runs {
        if let Some(at) = run.finished.filter(|_| run.phase.finished()) {
            let labels = [&*run.playbook, &*run.driver, run.phase.as_str()];
            let latest = last.entry(labels).or_insert(at.as_second());
            *latest = at.as_second().max(*latest);
        }
    }
    last
}

fn gates(view: &View) -> impl Iterator<Item = ([&str; 4], u64)> {
    unfinished(view).flat_map(|run| {
        run.gates.iter().map(|it| {
            (
                [&*it.gate, &run.playbook, &run.namespace, &run.name],
                u64::from(it.open),
            )
        })
    })
}
