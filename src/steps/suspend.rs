//! `suspendSources`: takes the holds, then sees that no held source makes another snapshot.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{Intent, Progress, Scene, Step, count, gone, some};
use crate::api::remediation::{LeftRecord, Phase, StepRecord};
use crate::holds::{Hold, Switch, UNREADABLE};
use crate::model::records::Snapshot;
use crate::model::{Model, ObjectKey, ObjectKind, Uid};
use crate::plan::{Action, Target};

pub(super) struct SuspendSources;

/// Where a target stands.
enum Standing {
    Held,
    Open(Switch),
    Left(LeftRecord),
}

impl Step for SuspendSources {
    fn advance(&self, scene: &Scene<'_>) -> Progress {
        let settings = &scene.config.steps.suspend_sources;
        let (mut held, mut left, mut intents) = (Vec::new(), Vec::new(), Vec::new());
        let until = scene
            .now
            .checked_add(settings.deadline.signed())
            .unwrap_or(scene.now);
        for target in &scene.planned.targets {
            match standing(scene, target) {
                Standing::Held => held.push(&target.object),
                Standing::Left(record) => left.push(record),
                Standing::Open(switch) => intents.push(Intent::Hold {
                    object: target.object.clone(),
                    hold: Hold {
                        switch,
                        was: serde_json::Value::Null,
                        run: scene.run.clone(),
                        since: scene.now,
                        until,
                    },
                }),
            }
        }
        if !intents.is_empty() {
            return if scene.overdue(settings.within) {
                let missing = some(intents.iter().map(Intent::object));
                Progress::Failed(format!(
                    "failed to hold {missing} within {}",
                    settings.within
                ))
            } else {
                Progress::Act(intents)
            };
        }
        if held.is_empty() {
            return Progress::Done("nothing to hold".to_owned(), left);
        }
        watch_quiet(scene, &held, left)
    }
}

/// Waits for VolSync to notice, lists its snapshots, waits again, and compares.
fn watch_quiet(scene: &Scene<'_>, held: &[&ObjectKey], left: Vec<LeftRecord>) -> Progress {
    let settings = &scene.config.steps.suspend_sources;
    let Some(held_at) = scene.record.acted_at else {
        return Progress::Note(StepRecord {
            acted_at: Some(scene.now),
            ..scene.record.clone()
        });
    };
    let after = |time: jiff::Timestamp, span: crate::config::Duration| {
        time.checked_add(span.signed()).unwrap_or(time)
    };
    let settled = after(held_at, settings.settle);
    let Some(known) = &scene.record.known else {
        if scene.now < settled {
            return Progress::Wait(Some(settled));
        }
        return match scene.snapshots_since(settled, settings.within) {
            ControlFlow::Break(progress) => progress,
            ControlFlow::Continue(snapshots) => Progress::Note(StepRecord {
                known: Some(
                    made_by(scene, held, snapshots)
                        .map(|(_, uid)| uid)
                        .collect(),
                ),
                quiet_since: Some(scene.now),
                ..scene.record.clone()
            }),
        };
    };
    let quiet = after(
        scene.record.quiet_since.unwrap_or(settled),
        settings.quiet_period,
    );
    if scene.now < quiet {
        return Progress::Wait(Some(quiet));
    }
    match scene.snapshots_since(quiet, settings.within) {
        ControlFlow::Break(progress) => progress,
        ControlFlow::Continue(snapshots) => {
            let new: Vec<_> = made_by(scene, held, snapshots)
                .filter(|(_, uid)| !known.contains(uid))
                .collect();
            if new.is_empty() {
                let sources = held
                    .iter()
                    .filter(|o| o.kind == ObjectKind::ReplicationSource)
                    .count();
                let message = format!(
                    "{} held; no new snapshot for {}",
                    count(sources, "source"),
                    settings.quiet_period
                );
                return Progress::Done(message, left);
            }
            let names = some(new.iter().map(|(object, _)| object));
            Progress::Failed(format!(
                "a held source made another snapshot: {names}; the hold does not hold"
            ))
        }
    }
}

/// Those of `snapshots` that held sources have made, each with its uid.
fn made_by<'a>(
    scene: &'a Scene<'_>,
    held: &[&ObjectKey],
    snapshots: &'a [Snapshot],
) -> impl Iterator<Item = (ObjectKey, Uid)> + 'a {
    let owners: HashSet<&Uid> = held_sources(scene.model, held);
    let of_owner = move |snapshot: &&Snapshot| {
        let owner = snapshot.source.as_ref();
        owner.is_some_and(|owner| owners.contains(owner))
    };
    snapshots.iter().filter(of_owner).map(|snapshot| {
        let key = snapshot.meta.key(ObjectKind::VolumeSnapshot);
        (key, snapshot.meta.uid.clone())
    })
}

/// Uids of the sources held by themselves or through their claim.
fn held_sources<'m>(model: &'m Model, held: &[&ObjectKey]) -> HashSet<&'m Uid> {
    let held: HashSet<&Uid> = held.iter().map(|object| &object.uid).collect();
    model
        .sources
        .iter()
        .filter(|source| {
            let claim = source
                .claim
                .as_ref()
                .and_then(|name| model.claims.get(&source.meta.namespace, name));
            held.contains(&source.meta.uid)
                || claim.is_some_and(|claim| held.contains(&claim.meta.uid))
        })
        .map(|source| &source.meta.uid)
        .collect()
}

fn standing(scene: &Scene<'_>, target: &Target) -> Standing {
    let object = &target.object;
    let Action::Hold(switch) = target.action else {
        return Standing::Left(LeftRecord {
            object: object.clone(),
            why: "is not to be held".to_owned(),
        });
    };
    let model = scene.model;
    let (meta, hold, off, unreadable) = match switch {
        Switch::Paused | Switch::Suspend => {
            match model.sources.get(&object.namespace, &object.name) {
                Some(it) => (&it.meta, &it.hold, it.paused, it.unreadable_mark),
                None => return Standing::Left(gone(object, None)),
            }
        }
        Switch::CopyTrigger => match model.claims.get(&object.namespace, &object.name) {
            Some(it) => (&it.meta, &it.hold, it.copy_trigger, it.unreadable_mark),
            None => return Standing::Left(gone(object, None)),
        },
    };
    if meta.uid != object.uid {
        return Standing::Left(gone(object, Some(&meta.uid)));
    }
    let left = |why: &str| {
        Standing::Left(LeftRecord {
            object: object.clone(),
            why: why.to_owned(),
        })
    };
    match hold {
        Some(hold) if hold.run == *scene.run && off => Standing::Held,
        Some(hold) if hold.run == *scene.run => left("switched on again by somebody else"),
        Some(hold) if at_work(model, hold) => left("held by another run, which is at work"),
        _ if model.opted_out(meta) => left("opted out by label"),
        None if unreadable => left(UNREADABLE),
        None if off => left("switched off by somebody else meanwhile"),
        // A person released it during the run: it is theirs now.
        None if scene.record.acted_at.is_some() => left("released by somebody else during the run"),
        // An earlier run's hold is taken over.
        Some(_) | None => Standing::Open(switch),
    }
}

/// Whether the run that took the hold is still at work: two runs would take it from each other without end.
fn at_work(model: &Model, hold: &Hold) -> bool {
    let run = model.runs.iter().find(|run| run.meta.uid == hold.run.uid);
    run.and_then(|run| run.object.status.as_ref())
        .is_some_and(|status| status.phase == Phase::Running)
}
