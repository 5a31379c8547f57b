//! Modes that do not act, with a user that has all rights.

use locksmith::api::StepName;
use locksmith::api::remediation::{Phase, Remediation};

use crate::support::stage::{DRIVER, Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn mode_observe_reports_the_jam_and_writes_nothing() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        mode: "observe",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    for alert in ["LocksmithOperationLocked", "LocksmithSourceOrphaned"] {
        let (code, answer) = daemon.fire(alert, &[("driver", DRIVER)]).await;
        assert_eq!(code, 200, "{answer}");
        assert!(answer.to_string().contains("observe"), "{answer}");
    }
    // A daemon in mode act releases this immediately: the hold of a failed run.
    let source = &stage.jam.sources[0];
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    stage.create_leftover_hold(source, 0, tomorrow).await;
    daemon
        .until("the hold to be seen", |samples| {
            samples
                .keys()
                .any(|name| name.starts_with("locksmith_holds{"))
        })
        .await;
    let mut views = daemon.follow().await;
    for _ in 0..3 {
        views.next().await;
    }

    let (writes, reads) = stage.requests().await;
    assert!(reads >= 14, "{reads} reads: is this the daemon's user?");
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
    assert!(stage.failed_snapshots_are_untouched().await);
    assert_eq!(stage.held().await, std::slice::from_ref(&source.name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn mode_plan_records_the_plan_without_running_it() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        mode: "plan",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Planned, "{}", daemon.log_text());
    let plan = status.plan.unwrap();
    let targets = |step| plan.step(step).unwrap().targets.len();
    let suspend = plan.step(StepName::SuspendSources).unwrap();
    assert_eq!(suspend.held_sources().count(), stage.jam.sources.len());
    assert_eq!(
        targets(StepName::DeleteFailedSnapshots),
        stage.jam.stuck_snapshots.len()
    );
    // Each restore, and the content of each snapshot to be deleted.
    assert_eq!(
        targets(StepName::VerifyProvisioning),
        stage.jam.pending.len() + stage.jam.stuck_snapshots.len()
    );
    assert!(targets(StepName::RestartProvisioner) > 0);
    assert_eq!((status.steps, status.started_at), (Vec::new(), None));

    let writes = stage.writes_elsewhere().await;
    assert!(writes.is_empty(), "{writes:#?}");
    assert!(stage.failed_snapshots_are_untouched().await);
    stage.nothing_is_held().await;
}
