//! An API server that conflicts, pushes back, fails, breaks off and forgets: a run ends well or is undone, and never
//! says that it ended well when it did not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use futures::StreamExt;
use locksmith::api::remediation::{Phase, Remediation, StepPhase};
use rstest::rstest;
use serde_json::json;

use crate::daemon::{Daemon, notification};
use crate::proxy::{Call, Proxy, script, status};
use crate::stage::{DRIVER, Settings, Stage};

/// A run takes 10 s where nothing goes wrong.
const PATIENCE: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Fault {
    Conflict,
    TooManyRequests,
    Internal,
    GatewayTimeout,
    /// Broken off before it was done.
    Lost,
    /// Done, and broken off instead of answered.
    Unanswered,
    /// Of a watch: what it asks for is too old.
    Expired,
    /// Of a watch: ended after a while.
    Ended,
}

const OF_WRITES: [Fault; 6] = [
    Fault::Conflict,
    Fault::TooManyRequests,
    Fault::Internal,
    Fault::GatewayTimeout,
    Fault::Lost,
    Fault::Unanswered,
];
const OF_READS: [Fault; 4] = [
    Fault::TooManyRequests,
    Fault::Internal,
    Fault::GatewayTimeout,
    Fault::Lost,
];
const OF_WATCHES: [Fault; 3] = [Fault::Expired, Fault::Ended, Fault::Internal];

struct Troubles {
    chance: Mutex<Rng>,
    had: Mutex<BTreeMap<Fault, usize>>,
}

impl Troubles {
    fn next(&self, call: &Call) -> Option<Fault> {
        let (faults, one_in) = match () {
            () if call.is_write() => (&OF_WRITES[..], 5),
            // They are few, as they last.
            () if call.is_watch() => (&OF_WATCHES[..], 2),
            () => (&OF_READS[..], 5),
        };
        let mut chance = self.chance.lock().unwrap();
        if chance.u32(..one_in) != 0 {
            return None;
        }
        let fault = *chance.choice(faults)?;
        *self.had.lock().unwrap().entry(fault).or_default() += 1;
        Some(fault)
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
            Some(Fault::Lost) => broken_off(),
            Some(Fault::Unanswered) => {
                call.forward().await;
                broken_off()
            }
            Some(Fault::Expired) => expired(),
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
async fn a_run_on_a_faulty_api_server_ends_well_or_is_undone(#[values(1, 2, 3)] seed: u64) {
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
    let verified = status.steps.iter().any(|step| {
        step.step.as_str() == "verifyProvisioning" && step.phase == StepPhase::Succeeded
    });
    if verified {
        stage.pending_are_bound().await;
    }
    match status.phase {
        Phase::Succeeded => {
            assert!(verified, "{status:#?}");
            assert!(
                status.verdict.iter().all(|check| check.passed),
                "{status:#?}"
            );
            assert_eq!(destroyed.len(), stuck.len());
            stage.forget_run().await;
        }
        Phase::Failed => assert!(!status.message.is_empty(), "{status:#?}"),
        other => panic!("{other:?}: {status:#?}"),
    }
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
