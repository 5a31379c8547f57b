//! A run that waits for a gate while its alert ends.
//!
//! 1. While the alert fires, the run is Pending.
//! 2. Once Alertmanager reports it resolved, the run ends as Aborted and has done nothing.
//! 3. When it fires again, another run is created immediately.

use locksmith::api::remediation::{Phase, Remediation};
use serde_json::json;

use crate::support::daemon::notification;
use crate::support::stage::{DRIVER, Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn pending_run_ends_with_its_alert() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        gates: ", maxDeletions: 1",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage
        .run_until("the run to wait", |status| {
            status.phase == Phase::Pending && !status.gates.is_empty()
        })
        .await;

    let mut resolved = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    resolved["alerts"][0]["status"] = json!("resolved");
    let (code, answer) = daemon.post(&resolved).await;
    assert_eq!(code, 202, "{answer}");
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Aborted, "{status:#?}");
    assert_eq!(status.started_at, None);
    assert!(status.message.contains("resolved"), "{}", status.message);
    assert!(stage.destroyed().await.is_empty());

    stage.fire(&daemon).await;
    let runs = stage.list::<Remediation>().await;
    assert_eq!(runs.len(), 2, "{runs:#?}");
}
