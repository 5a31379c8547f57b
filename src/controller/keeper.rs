//! Keeps the promise: whatever is held is released when it is due, whoever took it and whatever became of them.

use std::time::Instant;

use futures::StreamExt;
use jiff::Timestamp;

use super::recent::Recent;
use super::retention;
use super::{CONCURRENCY, Controller, ECHO};
use crate::holds::{self, Due};
use crate::kube_io::{Tried, say};
use crate::model::{ObjectKey, ObjectKind, Sym};

/// Releases what is due, for as long as the process lives. No gate is asked.
pub async fn keep(controller: Controller) {
    let mut views = controller.store.views();
    let mut recent = Recent::new(ECHO);
    let mut last_batch: Option<Instant> = None;
    let settings = &controller.config.steps.resume_sources;
    // The view comes every second at least, so that a deadline is seen in time.
    while views.changed().await.is_ok() {
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
        let due = at_once.into_iter().chain(batch).collect();
        release(&controller, due, &mut recent).await;
        retire(&controller, &mut recent).await;
    }
}

/// Removes Remediations that need not be kept.
async fn retire(controller: &Controller, recent: &mut Recent) {
    if controller.writer.term().is_err() {
        return;
    }
    let settings = &controller.config.remediation;
    let surplus = controller
        .store
        .read(|model| retention::surplus(model, settings, Timestamp::now()));
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
    /// The run that took it.
    run: Sym,
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
                Due::Now(why) => (&mut at_once, why),
                Due::InTurn(why) => (&mut in_turn, why),
                Due::Waits(_) | Due::AtWork => continue,
            };
            let run = held.hold.run.name.clone();
            let object = held.object;
            turn.push(Release { object, run, why });
        }
        (at_once, in_turn)
    })
}

/// The first `sources` sources, and with them the claims that stand between: a source and its claim are named
/// alike and sorted together, and a claim alone makes no snapshot.
fn batch(in_turn: Vec<Release>, sources: u32) -> Vec<Release> {
    let mut left = sources;
    in_turn
        .into_iter()
        .take_while(|release| {
            if release.object.kind != ObjectKind::ReplicationSource {
                return true;
            }
            let fits = left > 0;
            left = left.saturating_sub(1);
            fits
        })
        .collect()
}

async fn release(controller: &Controller, due: Vec<Release>, recent: &mut Recent) {
    let mut calls = Vec::with_capacity(due.len());
    for release in due {
        calls.push(async move {
            let outcome = controller.writer.release(&release.object).await;
            (release, outcome)
        });
    }
    let mut tries = futures::stream::iter(calls).buffer_unordered(CONCURRENCY);
    while let Some((release, tried)) = tries.next().await {
        let Release { object, run, why } = release;
        let outcome = match &tried {
            Ok(Tried::Written) => {
                tracing::info!(%run, %object, why, "released");
                say(
                    controller.writer.client(),
                    &object,
                    "LocksmithReleased",
                    why,
                    false,
                )
                .await;
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
