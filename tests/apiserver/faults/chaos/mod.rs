//! What a cluster does to the program on a bad day: whatever it is, a run ends well or is undone, nothing stays held,
//! and nothing is done twice.

mod clocks;
mod controllers;
mod definitions;
mod events;
mod objects;
mod outages;
mod tokens;

use std::time::Duration;

use locksmith::api::remediation::{Phase, RemediationStatus};

use crate::support::daemon::Daemon;
use crate::support::stage::Stage;

/// A run takes 10 s where nothing goes wrong; a step that something does go wrong in may take five minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until the only run is over, and asserts that it says no more than it did and leaves nothing behind.
async fn ends_well_or_is_undone(stage: &Stage, daemon: &Daemon) -> RemediationStatus {
    let status = stage.finished_within(PATIENCE).await;
    println!("{}: {}", status.phase.as_str(), status.message);
    let destroyed = stage.destroyed().await;
    let stuck = &stage.jam.stuck_snapshots;
    let was_stuck = |uid: &String| stuck.iter().any(|one| one.uid == *uid);
    assert!(destroyed.iter().all(was_stuck), "{destroyed:?}");
    match status.phase {
        Phase::Succeeded => {
            assert!(status.verdict.iter().all(|check| check.passed));
            // What waits for its app is held on purpose, as long as there is a run.
            stage.forget_run().await;
        }
        Phase::Failed => assert!(!status.message.is_empty(), "{status:#?}"),
        other => panic!("{other:?}: {status:#?}\n{}", daemon.log_text()),
    }
    status
}
