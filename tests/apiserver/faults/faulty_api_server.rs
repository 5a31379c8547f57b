//! An API server that conflicts, pushes back, fails, breaks off and forgets: a run ends well for all that, or is undone
//! where it cannot; and never says that it ended well when it did not.

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
use crate::support::fault_plan::Troubles;
use crate::support::fault_proxy::{Call, Proxy, script, status};
use crate::support::stage::{DRIVER, Settings, Stage};

/// A run takes 10 s where nothing goes wrong.
const PATIENCE: Duration = Duration::from_secs(400);

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_run_on_a_faulty_api_server_ends_well(#[values(1, 2, 3)] seed: u64) {
    let stage = Stage::jammed().await;
    let troubles = Troubles::new(seed);
    let proxy = Proxy::start(stage.user(), troubles.script());
    let settings = Settings {
        deadline: "1h",
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
        troubles.had()
    );
    let destroyed = stage.destroyed().await;
    let stuck = &stage.jam.stuck_snapshots;
    let told = |uid: &String| stuck.iter().any(|one| one.uid == *uid);
    assert!(destroyed.iter().all(told), "{destroyed:?}");
    // One in five is little against the minutes that each step has.
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
    assert_eq!(troubles.missed(), []);
}

/// One that takes no deletion but those of holds: nothing is verified that is not so, and what was done is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_run_that_an_api_server_never_lets_through_fails_and_is_undone() {
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
    assert!(stage.stuck_snapshots_stand().await);
    stage.released().await;
}

/// Views come several times a second. A release that is refused with each of them would be written hundreds of times in 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_refused_release_is_repeated_ever_less_often() {
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
    stage.left_behind(&stage.jam.sources[0], 0, tomorrow).await;
    let proxy = Proxy::start(stage.user(), refuse);
    let _daemon = Daemon::start(proxy.kubeconfig(), &Settings::default().yaml()).await;
    let mut enough = attempts.subscribe();
    let enough = enough.wait_for(|at| at.len() >= ATTEMPTS);
    let at = tokio::time::timeout(PATIENCE, enough)
        .await
        .unwrap()
        .unwrap();
    // 250 ms, then twice as long after each: 7.75 s between the first and the sixth.
    let took = at[ATTEMPTS - 1] - at[0];
    assert!(took > Duration::from_secs(7), "{took:?}");
}

/// A create may be refused with 409 although nothing of that name is there, by a quota or a webhook.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_conflict_that_made_nothing_is_not_taken_for_a_run() {
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
    // Until it is taken, as Alertmanager would.
    daemon.notify(&alert).await;
    assert!(refused.load(Ordering::Relaxed));
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
}
