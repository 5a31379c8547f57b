//! Keeps the promise: whatever is held is released when it is due, whoever took it and whatever became of them.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::StreamExt;
use jiff::Timestamp;

use super::leap::Leaps;
use super::recent::Recent;
use super::retention;
use super::{CONCURRENCY, Controller, ECHO};
use crate::holds::{self, Due, Hold};
use crate::kube_io::Tried;
use crate::model::{ObjectKey, Sym};
use crate::watch::Clocks;

/// How many are released in one pass. The next comes with the next view, within a second.
const PASS: usize = 256;

/// Releases what is due, for as long as the process lives. No gate is asked.
pub async fn keep(controller: Controller) {
    let mut views = controller.store.views();
    let mut recent = Recent::new(ECHO);
    let mut last_batch: Option<Instant> = None;
    let mut leaps = Leaps::new();
    let settings = &controller.config.steps.resume_sources;
    // The view comes every second at least, so that a deadline is seen in time.
    while views.changed().await.is_ok() {
        let in_doubt = leaps.lately(Clocks::now());
        if in_doubt && controller.clock_is_trusted() {
            continue;
        }
        let (at_once, in_turn) = due(&controller, &recent);
        let batch_due = last_batch.is_none_or(|at| at.elapsed() >= settings.every.0);
        let batch = if batch_due {
            batch(in_turn, settings.batch)
        } else {
            Vec::new()
        };
        if !batch.is_empty() {
            last_batch = Some(Instant::now());
        }
        let due = batch.into_iter().chain(in_rotation(at_once)).collect();
        release(&controller, due, &mut recent).await;
        // What is removed is the gates' memory.
        if !in_doubt && controller.clock_is_trusted() {
            retire(&controller, &mut recent).await;
        }
    }
}

/// Removes Remediations that need not be kept.
async fn retire(controller: &Controller, recent: &mut Recent) {
    if controller.writer.term().is_err() {
        return;
    }
    let surplus = controller
        .store
        .read(|model| retention::surplus(model, &controller.config, Timestamp::now()));
    for run in surplus
        .into_iter()
        .filter(|run| recent.is_news(run))
        .collect::<Vec<_>>()
    {
        match controller.writer.remove_run(&run).await {
            Ok(_) => recent.note(run),
            Err(error) => tracing::warn!(%run, %error, "not removed; will be tried again"),
        }
    }
}

/// Something to be released.
struct Release {
    object: ObjectKey,
    /// The mark it was decided on: another run's is not touched.
    hold: Hold,
    why: &'static str,
}

fn due(controller: &Controller, recent: &Recent) -> (Vec<Release>, Vec<Release>) {
    let policy = controller.config.steps.resume_sources.policy();
    if controller.writer.term().is_err() {
        return (Vec::new(), Vec::new());
    }
    controller.store.read(|model| {
        let (mut at_once, mut in_turn) = (Vec::new(), Vec::new());
        for (held, due) in holds::due(model, policy, Timestamp::now()) {
            if !recent.is_news(&held.object) {
                continue;
            }
            let (turn, why) = match due {
                Due::InTurn(why) if held.planned => (&mut in_turn, why),
                Due::Now(why) | Due::InTurn(why) => (&mut at_once, why),
                Due::Waits(_) | Due::AtWork => continue,
            };
            let hold = held.hold.clone();
            let object = held.object;
            turn.push(Release { object, hold, why });
        }
        (at_once, in_turn)
    })
}

/// The first of each namespace, then the second of each, and so on, as many as one pass takes: marks that a tenant
/// writes by the thousand hold up nobody else's release.
fn in_rotation(at_once: Vec<Release>) -> Vec<Release> {
    let mut of_namespace: HashMap<Sym, usize> = HashMap::new();
    let mut ranked: Vec<_> = at_once
        .into_iter()
        .map(|release| {
            let rank = of_namespace
                .entry(release.object.namespace.clone())
                .or_default();
            *rank += 1;
            (*rank, release)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let ranked = ranked.into_iter().map(|(_, release)| release);
    ranked.take(PASS).collect()
}

/// The first so many volumes' worth: a source and its claim are named alike and sorted together, and count as one; so
/// does a claim by which alone its sources are held.
fn batch(in_turn: Vec<Release>, volumes: u32) -> Vec<Release> {
    let most = usize::try_from(volumes).unwrap_or(usize::MAX);
    let mut names = HashSet::new();
    in_turn
        .into_iter()
        .take_while(|release| {
            let object = &release.object;
            names.insert((object.namespace.clone(), object.name.clone()));
            names.len() <= most
        })
        .collect()
}

async fn release(controller: &Controller, due: Vec<Release>, recent: &mut Recent) {
    if due.is_empty() {
        return;
    }
    let _hush = controller.herald.hush();
    let due = controller
        .writer
        .read_ahead(due, |release| Some(&release.object));
    let tries = due.map(|(release, ahead)| async move {
        let (object, hold) = (&release.object, &release.hold);
        let outcome = controller.writer.release(object, hold, &ahead).await;
        (release, outcome)
    });
    let mut tries = tries.buffer_unordered(CONCURRENCY);
    while let Some((release, tried)) = tries.next().await {
        let Release { object, hold, why } = release;
        let run = hold.run.name;
        let outcome = match &tried {
            Ok(Tried::Written) => {
                tracing::info!(%run, %object, why, "released");
                controller
                    .herald
                    .say(&object, "LocksmithReleased", why, false);
                "ok"
            }
            Ok(Tried::LeftAlone(_)) => "left_alone",
            Err(error) => {
                tracing::warn!(%run, %object, %error, "not released; will be tried again");
                error.kind()
            }
        };
        controller
            .own
            .write("release", object.kind.as_str(), outcome);
        if tried.is_ok() {
            recent.note(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds::Switch;
    use crate::model::ObjectKind::{self, PersistentVolumeClaim, ReplicationSource};
    use crate::model::fixture::{at, hold};

    fn release(kind: ObjectKind, namespace: &str, name: &str) -> Release {
        Release {
            object: ObjectKey {
                kind,
                namespace: namespace.into(),
                name: name.into(),
                uid: name.into(),
            },
            hold: hold(Switch::Paused, "run", at(60)),
            why: "its app runs",
        }
    }

    #[test]
    fn a_batch_is_of_volumes_whatever_they_are_held_by() {
        let all = [
            (ReplicationSource, "a"),
            (PersistentVolumeClaim, "a"),
            // Held by its claim alone.
            (PersistentVolumeClaim, "b"),
            (PersistentVolumeClaim, "c"),
        ];
        let all = all.map(|(kind, name)| release(kind, "media", name));
        let taken = batch(all.into(), 2);
        let names: Vec<_> = taken.iter().map(|one| &*one.object.name).collect();
        assert_eq!(names, ["a", "a", "b"]);
    }

    /// Attack: ten thousand forged marks in a namespace that comes first by name. Defence: namespaces take turns, and a
    /// pass has an end.
    #[test]
    fn a_namespace_full_of_forged_marks_holds_up_no_other() {
        let forged =
            (0..10_000).map(|number| release(ReplicationSource, "aaa", &format!("s{number}")));
        let pass = in_rotation(
            forged
                .chain([release(ReplicationSource, "media", "s0")])
                .collect(),
        );
        assert_eq!(pass.len(), PASS);
        let place = pass.iter().position(|it| &*it.object.namespace == "media");
        assert_eq!(place, Some(1));
    }
}
