//! Releases held sources when they are due, and removes SnapshotHolds and Remediations that are over.
//!
//! No gate is evaluated before a release. The deadline does not depend on this loop: the API server ends every hold by itself.

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;

use super::backoff::Backoff;
use super::clock_jumps::ClockJumps;
use super::pending_writes::PendingWrites;
use super::retention;
use super::{Controller, WATCH_LAG};
use crate::api::{ObjectKey, ObjectKind};
use crate::cluster::{ErrorKind, EventType, Tried};
use crate::config::Mode;
use crate::holds::{self, Release};
use crate::steps::Intent;
use crate::tasks::heartbeat::Heartbeat;
use crate::watch::Clocks;

/// Releases what is due, for as long as the process lives.
pub async fn sweep(controller: Controller) {
    let mut views = controller.store.views();
    let mut recent = PendingWrites::new(WATCH_LAG);
    let (mut releases, mut removals) = (Backoff::default(), Backoff::default());
    let mut last_batch: Option<Instant> = None;
    let mut jumps = ClockJumps::new();
    let settings = &controller.config.steps.resume_sources;
    let heartbeat = controller.own.heartbeats().add("sweeper");
    // A view comes every second at least, so that a deadline is seen in time.
    while views.changed().await.is_ok() {
        heartbeat.beat();
        let in_doubt = jumps.jumped_recently(Clocks::now());
        if in_doubt && controller.clock_is_trusted() {
            continue;
        }
        if !controller.writer.leads() {
            continue;
        }
        let batch_due = last_batch.is_none_or(|at| at.elapsed() >= settings.every.0);
        let due = due(&controller, &recent, &mut releases, batch_due);
        if due.iter().any(|release| release.in_turn) {
            last_batch = Some(Instant::now());
        }
        for release in due {
            carry_out(&controller, release, &mut recent, &mut releases).await;
            heartbeat.beat();
        }
        // The Remediations are the memory of the gates.
        if !in_doubt && controller.clock_is_trusted() {
            retire(&controller, &mut recent, &mut removals, &heartbeat).await;
        }
    }
}

/// The releases that are due, were not written a moment ago, and do not wait after a failure.
fn due(
    controller: &Controller,
    recent: &PendingWrites,
    backoff: &mut Backoff<ObjectKey>,
    batch_due: bool,
) -> Vec<Release> {
    let settings = &controller.config.steps.resume_sources;
    let (policy, batch) = (settings.into(), settings.batch);
    let all = controller
        .store
        .read(|model| holds::releases(model, policy, batch, Timestamp::now()));
    let holds: Vec<_> = all.iter().map(|release| release.hold.clone()).collect();
    backoff.retain(&holds);
    let now = Instant::now();
    all.into_iter()
        .filter(|release| (batch_due || !release.in_turn) && recent.may_write(&release.hold))
        .filter(|release| backoff.left(&release.hold, now).is_none())
        .collect()
}

async fn carry_out(
    controller: &Controller,
    release: Release,
    recent: &mut PendingWrites,
    backoff: &mut Backoff<ObjectKey>,
) {
    let Release {
        hold, change, why, ..
    } = release;
    let released = controller.store.read(|model| {
        let found = model.holds.get(&hold.namespace, &hold.name);
        let held = found.map(|found| holds::sources(model, found));
        let held = held.unwrap_or_default().into_iter();
        let held: HashMap<_, _> = held.map(|it| (it.source.uid.clone(), it.source)).collect();
        match &change {
            None => held.into_values().collect::<Vec<_>>(),
            Some(change) => change
                .remove
                .iter()
                .filter_map(|uid| held.get(uid).cloned())
                .collect(),
        }
    });
    let intent = match change {
        None => Intent::DeleteHold(hold.clone()),
        Some(change) => Intent::PatchHold {
            hold: hold.clone(),
            change,
        },
    };
    let tried = controller.writer.perform(&intent).await;
    let outcome = match &tried {
        Ok(Tried::Written) => {
            let count = released.len();
            tracing::info!(%hold, sources = count, reason = why, "hold released");
            let message = format!(
                "released {}: {why}",
                crate::text::humanize::count(count, "source")
            );
            controller
                .events
                .publish(&hold, EventType::Normal, "LocksmithReleased", &message);
            "ok"
        }
        Ok(Tried::Skipped(_)) => "skipped",
        Err(error) => {
            let wait = backoff.failed(&hold, Instant::now(), error.retry_after());
            tracing::warn!(%hold, %error, retry_in = ?wait, "hold not released; retrying");
            error.kind().as_str()
        }
    };
    controller
        .own
        .write("release", ObjectKind::SnapshotHold.as_str(), outcome);
    if tried.is_ok() {
        backoff.succeeded(&hold);
        recent.note(hold);
    }
    // The right is there in mode `act` alone.
    let may_nudge = controller.config.mode == Mode::Act;
    if matches!(tried, Ok(Tried::Written))
        && may_nudge
        && controller.config.steps.resume_sources.nudge
    {
        // Not awaited: the next release waits for no source.
        tokio::spawn(nudge(controller.clone(), released));
    }
}

/// How often a source is nudged that somebody else changes at the same time: VolSync does when it notices the release.
const NUDGES: usize = 3;

/// Touches each released source, so that VolSync retries at once. One that fails is retried by VolSync itself, later.
async fn nudge(controller: Controller, sources: Vec<ObjectKey>) {
    for source in sources {
        let mut nudged = controller.writer.nudge(&source).await;
        for _ in 1..NUDGES {
            if !matches!(&nudged, Err(error) if error.kind() == ErrorKind::Conflict) {
                break;
            }
            nudged = controller.writer.nudge(&source).await;
        }
        let outcome = match nudged {
            Ok(Tried::Written) => "ok",
            Ok(Tried::Skipped(_)) => "skipped",
            Err(error) => {
                tracing::warn!(%source, %error, "source not nudged; VolSync retries by itself");
                error.kind().as_str()
            }
        };
        controller.own.write("nudge", source.kind.as_str(), outcome);
    }
}

/// Removes Remediations that need not be kept.
async fn retire(
    controller: &Controller,
    recent: &mut PendingWrites,
    backoff: &mut Backoff<ObjectKey>,
    heartbeat: &Heartbeat,
) {
    let surplus = controller.store.read(|model| {
        retention::surplus(
            model,
            &controller.namespace,
            &controller.config,
            Timestamp::now(),
        )
    });
    backoff.retain(&surplus);
    for run in surplus {
        if !recent.may_write(&run) || backoff.left(&run, Instant::now()).is_some() {
            continue;
        }
        heartbeat.beat();
        match controller.writer.remove_run(&run).await {
            Ok(_) => {
                backoff.succeeded(&run);
                recent.note(run);
            }
            Err(error) => {
                let wait = backoff.failed(&run, Instant::now(), error.retry_after());
                tracing::warn!(%run, %error, retry_in = ?wait, "Remediation not removed; retrying");
            }
        }
    }
}
