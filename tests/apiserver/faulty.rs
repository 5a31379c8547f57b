//! An API server that conflicts, pushes back, fails, breaks off and forgets: a run ends well for all that, or is undone
//! where it cannot; and never says that it ended well when it did not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use futures::StreamExt;
use locksmith::api::remediation::{Phase, Remediation, StepPhase, StepRecord};
use locksmith::plan::StepName;
use rstest::rstest;
use serde_json::json;

use crate::daemon::{Daemon, notification};
use crate::proxy::{Call, Proxy, no_answer, script, status};
use crate::stage::{DRIVER, Settings, Stage};

/// A run takes 10 s where nothing goes wrong.
const PATIENCE: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Fault {
    Conflict,
    TooManyRequests,
    Internal,
    GatewayTimeout,
    /// Broken off before it was done, and before anything was answered.
    Reset,
    /// Broken off before it was done, in the middle of an answer.
    Lost,
    /// Done, and broken off instead of answered.
    Unanswered,
    /// Of a watch: what it asks for is too old, as it is told once the watch has begun.
    Expired,
    /// Of a watch: the same, as it is told at once.
    Gone,
    /// Of a watch: ended after a while.
    Ended,
}

const OF_WRITES: [Fault; 7] = [
    Fault::Conflict,
    Fault::TooManyRequests,
    Fault::Internal,
    Fault::GatewayTimeout,
    Fault::Reset,
    Fault::Lost,
    Fault::Unanswered,
];
const OF_READS: [Fault; 5] = [
    Fault::TooManyRequests,
    Fault::Internal,
    Fault::GatewayTimeout,
    Fault::Reset,
    Fault::Lost,
];
const OF_WATCHES: [Fault; 5] = [
    Fault::Expired,
    Fault::Ended,
    Fault::Gone,
    Fault::Internal,
    Fault::Reset,
];

/// What is asked for, as far as the faults it may meet go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Sort {
    Write,
    Read,
    Watch,
}

impl Sort {
    fn of(call: &Call) -> Self {
        match () {
            () if call.is_write() => Self::Write,
            () if call.is_watch() => Self::Watch,
            () => Self::Read,
        }
    }

    fn faults(self) -> &'static [Fault] {
        match self {
            Self::Write => &OF_WRITES,
            Self::Read => &OF_READS,
            Self::Watch => &OF_WATCHES,
        }
    }

    /// One in so many goes wrong. Of watches there are few, as they last.
    fn one_in(self) -> usize {
        match self {
            Self::Write | Self::Read => 5,
            Self::Watch => 2,
        }
    }
}

struct Troubles {
    chance: Mutex<Rng>,
    had: Mutex<BTreeMap<(Sort, Fault), usize>>,
}

impl Troubles {
    /// By chance whether, but not which: the one of its sort that was had least often.
    fn next(&self, call: &Call) -> Option<Fault> {
        let sort = Sort::of(call);
        if self.chance.lock().unwrap().usize(..sort.one_in()) != 0 {
            return None;
        }
        let mut had = self.had.lock().unwrap();
        let times = |fault: &&Fault| had.get(&(sort, **fault)).copied();
        let fault = *sort.faults().iter().min_by_key(times)?;
        *had.entry((sort, fault)).or_default() += 1;
        Some(fault)
    }

    /// Those of the faults there are that nothing met with.
    fn missed(&self) -> Vec<(Sort, Fault)> {
        let had = self.had.lock().unwrap();
        let all = [Sort::Write, Sort::Read, Sort::Watch];
        let all = all.map(|sort| sort.faults().iter().map(move |fault| (sort, *fault)));
        let all = all.into_iter().flatten();
        all.filter(|fault| !had.contains_key(fault)).collect()
    }

    async fn pass(self: Arc<Self>, call: Call) -> Response {
        match self.next(&call) {
            None => call.forward().await,
            Some(Fault::Conflict) => status(
                StatusCode::CONFLICT,
                "Conflict",
                "the object has been modified",
            ),
            Some(Fault::TooManyRequests) => {
                let mut answer = status(
                    StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequests",
                    "try again later",
                );
                let after = HeaderValue::from_static("1");
                answer.headers_mut().insert(header::RETRY_AFTER, after);
                answer
            }
            Some(Fault::Internal) => status(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "etcdserver: leader changed",
            ),
            Some(Fault::GatewayTimeout) => status(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "request did not complete within the requested timeout",
            ),
            Some(Fault::Reset) => no_answer(),
            Some(Fault::Lost) => broken_off(),
            Some(Fault::Unanswered) => {
                call.forward().await;
                broken_off()
            }
            Some(Fault::Expired) => expired(),
            Some(Fault::Gone) => status(StatusCode::GONE, "Expired", "too old resource version"),
            Some(Fault::Ended) => {
                let lasts = Duration::from_millis(self.chance.lock().unwrap().u64(100..3000));
                call.forward().await.map(|body| {
                    let end = tokio::time::sleep(lasts);
                    Body::from_stream(body.into_data_stream().take_until(Box::pin(end)))
                })
            }
        }
    }
}

/// The connection is reset in the middle of an answer.
fn broken_off() -> Response {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::new(Body::from_stream(futures::stream::iter([Err::<&str, _>(
        reset,
    )])))
}

/// What a watch of a version that has been compacted away answers.
fn expired() -> Response {
    let event = json!({"type": "ERROR", "object": {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "reason": "Expired",
        "message": "too old resource version",
        "code": 410,
    }});
    Response::new(Body::from(format!("{event}\n")))
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_run_on_a_faulty_api_server_ends_well(#[values(1, 2, 3)] seed: u64) {
    let stage = Stage::jammed().await;
    let troubles = Arc::new(Troubles {
        chance: Mutex::new(Rng::with_seed(seed)),
        had: Mutex::default(),
    });
    let pass = troubles.clone();
    let pass = script(move |call| pass.clone().pass(call));
    let proxy = Proxy::start(stage.user(), pass).await;
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
        troubles.had.lock().unwrap()
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

/// One that takes no deletion at all: nothing is verified that is not so, and what was done is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_run_that_an_api_server_never_lets_through_fails_and_is_undone() {
    let stage = Stage::jammed().await;
    let pass = script(|call: Call| async move {
        if call.method() == Method::DELETE {
            let (code, reason) = (StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
            return status(code, reason, "etcdserver: leader changed");
        }
        call.forward().await
    });
    let proxy = Proxy::start(stage.user(), pass).await;
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
    let proxy = Proxy::start(stage.user(), pass).await;
    let daemon = Daemon::start(proxy.kubeconfig(), &Settings::default().yaml()).await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    // Until it is taken, as Alertmanager would.
    daemon.notify(&alert).await;
    assert!(refused.load(Ordering::Relaxed));
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
}
