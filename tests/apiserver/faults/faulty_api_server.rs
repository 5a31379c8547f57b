//! An API server with conflicts, throttling, errors, aborted responses and expired watches: a run nevertheless succeeds or,
//! if it cannot, is undone; and it never reports a success that did not happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use locksmith::api::StepName;
use locksmith::api::remediation::{Phase, Remediation, StepPhase, StepRecord};
use rstest::rstest;
use tokio::sync::watch;

use crate::support::daemon::{Daemon, notification};
use crate::support::fault_plan::FaultPlan;
use crate::support::fault_proxy::{Call, Proxy, script, status};
use crate::support::stage::{DRIVER, Settings, Stage};

/// Without faults, a run takes 10 s. With them each step is repeated, after pauses of up to 10 s, until none of its dozens of
/// requests fails: a step may take two minutes.
const PATIENCE: Duration = Duration::from_secs(900);

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_succeeds_on_a_faulty_api_server(#[values(1, 2, 3)] seed: u64) {
    let stage = Stage::jammed().await;
    let faults = FaultPlan::new(seed);
    let proxy = Proxy::start(stage.user(), faults.script());
    let settings = Settings {
        deadline: "1h",
        suspend_within: "5m",
        delete_within: "5m",
        ..Settings::default()
    };
    let daemon = Daemon::start(proxy.kubeconfig(), &settings.yaml()).await;
    let begun = Instant::now();
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    daemon.notify(&alert).await;
    let status = stage.finished_within(PATIENCE).await;
    println!(
        "seed {seed}: {} after {:?}: {}; {:?}",
        status.phase.as_str(),
        begun.elapsed(),
        status.message,
        faults.injected()
    );
    let destroyed = stage.destroyed().await;
    let stuck = &stage.jam.stuck_snapshots;
    let told = |uid: &String| stuck.iter().any(|one| one.uid == *uid);
    assert!(destroyed.iter().all(told), "{destroyed:?}");
    // One fault in four writes is little, compared with the five minutes that each step has.
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let verified = |step: &StepRecord| {
        step.step == StepName::VerifyProvisioning && step.phase == StepPhase::Succeeded
    };
    assert!(status.steps.iter().any(verified), "{status:#?}");
    stage.pending_are_bound().await;
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{status:#?}"
    );
    assert_eq!(destroyed.len(), stuck.len());
    assert!(stage.restarts().await.len() <= status.attempt as usize);
    stage.forget_run().await;
    stage.released().await;
    assert_eq!(faults.not_injected(), []);
}

/// The API server refuses every deletion except those of holds: the run verifies nothing that did not happen, and undoes
/// its changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_without_permitted_deletions_fails_and_is_undone() {
    let stage = Stage::jammed().await;
    let pass = script(|call: Call| async move {
        let of_hold = call.uri().path().contains("/snapshotholds/");
        if call.method() == Method::DELETE && !of_hold {
            let (code, reason) = (StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
            return status(code, reason, "etcdserver: leader changed");
        }
        call.forward().await
    });
    let proxy = Proxy::start(stage.user(), pass);
    let settings = Settings {
        deadline: "1h",
        delete_within: "5s",
        ..Settings::default()
    };
    let daemon = Daemon::start(proxy.kubeconfig(), &settings.yaml()).await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    daemon.notify(&alert).await;
    let status = stage.finished_within(PATIENCE).await;
    assert_eq!(status.phase, Phase::Failed, "{status:#?}");
    let failed = status
        .steps
        .iter()
        .find(|step| step.phase == StepPhase::Failed);
    let failed = failed.map(|step| step.step);
    assert_eq!(failed, Some(StepName::DeleteFailedSnapshots), "{status:#?}");
    assert!(stage.destroyed().await.is_empty());
    assert!(stage.restarts().await.is_empty());
    assert!(stage.failed_snapshots_are_untouched().await);
    stage.released().await;
}

/// There are several views per second. A refused release that is repeated with each of them would be written hundreds of
/// times in 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn refused_release_is_retried_with_backoff() {
    const ATTEMPTS: usize = 6;
    let stage = Stage::jammed().await;
    let attempts = watch::Sender::new(Vec::new());
    let seen = attempts.clone();
    let refuse = script(move |call: Call| {
        let of_hold = call.uri().path().contains("/snapshotholds/");
        let refused = of_hold && call.is_write();
        if refused {
            seen.send_modify(|at: &mut Vec<Instant>| at.push(Instant::now()));
        }
        async move {
            if refused {
                return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "no");
            }
            call.forward().await
        }
    });
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    stage
        .create_leftover_hold(&stage.jam.sources[0], 0, tomorrow)
        .await;
    let proxy = Proxy::start(stage.user(), refuse);
    let _daemon = Daemon::start(proxy.kubeconfig(), &Settings::default().yaml()).await;
    let mut enough = attempts.subscribe();
    let enough = enough.wait_for(|at| at.len() >= ATTEMPTS);
    let at = tokio::time::timeout(PATIENCE, enough)
        .await
        .unwrap()
        .unwrap();
    // 250 ms, doubled after each attempt: 7.75 s between the first and the sixth.
    let took = at[ATTEMPTS - 1] - at[0];
    assert!(took > Duration::from_secs(7), "{took:?}");
}

/// A quota or a webhook may refuse a create with 409 although no object has that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn conflict_without_an_object_is_no_run() {
    let stage = Stage::jammed().await;
    let refused = Arc::new(AtomicBool::new(false));
    let once = refused.clone();
    let pass = script(move |call: Call| {
        let making = call.method() == Method::POST && call.uri().path().ends_with("/remediations");
        let refuse = making && !once.swap(true, Ordering::Relaxed);
        async move {
            if refuse {
                return status(StatusCode::CONFLICT, "Conflict", "try again");
            }
            call.forward().await
        }
    });
    let proxy = Proxy::start(stage.user(), pass);
    let daemon = Daemon::start(proxy.kubeconfig(), &Settings::default().yaml()).await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    // Repeated until it is accepted, as by Alertmanager.
    daemon.notify(&alert).await;
    assert!(refused.load(Ordering::Relaxed));
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
}
