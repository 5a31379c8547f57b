//! Failures of the cluster during a run: in each case the run succeeds or is undone, nothing stays held, and nothing is
//! done twice.

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

/// Without failures, a run takes 10 s; a step with a failure may take five minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until the only run has finished, and asserts that it reports nothing that it did not do, and leaves nothing
/// behind.
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
            // A source that waits for its app stays held as long as the run exists.
            stage.forget_run().await;
        }
        Phase::Failed => assert!(!status.message.is_empty(), "{status:#?}"),
        other => panic!("{other:?}: {status:#?}\n{}", daemon.log_text()),
    }
    status
}
