//! Faults of an API server under stress, at random and reproducible.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::watch;

use crate::support::fault_proxy::{Call, Script, no_answer, script, status};

/// A fault of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// 409.
    Conflict,
    TooManyRequests,
    Internal,
    GatewayTimeout,
    /// The connection is closed before the request is executed, without a response.
    Reset,
    /// The connection is closed before the request is executed, within the response.
    Lost,
    /// The request is executed, but the connection is closed without a response.
    Unanswered,
    /// For a watch: the version is too old, reported as an event of the watch.
    Expired,
    /// For a watch: the version is too old, reported as its response.
    Gone,
    /// For a watch: it ends after a while.
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

/// Kind of request, which decides about its possible faults.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RequestKind {
    Write,
    Read,
    Watch,
}

impl RequestKind {
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

    /// One of this number of requests fails. There are few watches, as they last long, and a run has some thirty writes.
    fn one_in(self) -> usize {
        match self {
            Self::Read => 5,
            Self::Write => 4,
            Self::Watch => 2,
        }
    }
}

/// Injects random faults, reproducible by seed.
pub struct FaultPlan {
    chance: Mutex<Rng>,
    /// By kind, of the present group of requests: how many there were, and which of them fails.
    groups: Mutex<BTreeMap<RequestKind, (usize, usize)>>,
    injected: Mutex<BTreeMap<(RequestKind, Fault), usize>>,
    enabled: AtomicBool,
    /// Its start, and the duration of each phase with faults and of each without.
    waves: Option<(Instant, Duration)>,
    /// Number of requests in progress that do more than read.
    under_way: watch::Sender<usize>,
}

impl FaultPlan {
    /// Injects faults all the time.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self::with(seed, None))
    }

    /// Alternates between phases with and without faults, each as long as `wave`.
    pub fn alternating(seed: u64, wave: Duration) -> Arc<Self> {
        Arc::new(Self::with(seed, Some((Instant::now(), wave))))
    }

    fn with(seed: u64, waves: Option<(Instant, Duration)>) -> Self {
        Self {
            chance: Mutex::new(Rng::with_seed(seed)),
            groups: Mutex::default(),
            injected: Mutex::default(),
            enabled: AtomicBool::new(true),
            waves,
            under_way: watch::Sender::new(0),
        }
    }

    /// The script of a proxy.
    pub fn script(self: &Arc<Self>) -> Script {
        let faults = self.clone();
        script(move |call| {
            let passing = tokio::spawn(faults.clone().pass(call));
            async move { passing.await.unwrap() }
        })
    }

    /// Number of faults by request and kind.
    pub fn injected(&self) -> BTreeMap<(RequestKind, Fault), usize> {
        self.injected.lock().unwrap().clone()
    }

    /// The possible faults that never occurred.
    pub fn not_injected(&self) -> Vec<(RequestKind, Fault)> {
        let injected = self.injected.lock().unwrap();
        let all = [RequestKind::Write, RequestKind::Read, RequestKind::Watch];
        let all = all.map(|kind| kind.faults().iter().map(move |fault| (kind, *fault)));
        let all = all.into_iter().flatten();
        all.filter(|fault| !injected.contains_key(fault)).collect()
    }

    /// Whether faults are injected from now on.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Waits until every request in progress only reads. A dry run is waited for, too: it is in the audit log, and the soak's
    /// auditor counts the proof of a hold.
    pub async fn idle(&self) {
        let mut under_way = self.under_way.subscribe();
        let none = under_way.wait_for(|count| *count == 0).await;
        none.expect("this has the sender");
    }

    /// Exactly one request of each group fails, at random: few requests would otherwise miss some faults by chance. The fault is the
    /// least frequent one for the kind of request.
    fn next(&self, call: &Call) -> Option<Fault> {
        let between = |(begun, wave): (Instant, Duration)| {
            begun.elapsed().as_millis() / wave.as_millis() % 2 == 1
        };
        if !self.enabled.load(Ordering::Relaxed) || self.waves.is_some_and(between) {
            return None;
        }
        let kind = RequestKind::of(call);
        let mut groups = self.groups.lock().unwrap();
        let (seen, fails) = groups.entry(kind).or_default();
        if *seen == 0 {
            *fails = self.chance.lock().unwrap().usize(..kind.one_in());
        }
        let is_it = *seen == *fails;
        *seen = (*seen + 1) % kind.one_in();
        if !is_it {
            return None;
        }
        let mut injected = self.injected.lock().unwrap();
        let times = |fault: &&Fault| injected.get(&(kind, **fault)).copied();
        let fault = *kind.faults().iter().min_by_key(times)?;
        *injected.entry((kind, fault)).or_default() += 1;
        Some(fault)
    }

    async fn pass(self: Arc<Self>, call: Call) -> Response {
        // Counted until the end, even if the client is gone by then.
        let _under_way = (!call.is_read()).then(|| UnderWay::new(&self.under_way));
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

/// A request that does more than read, from its arrival to its end.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl<'a> UnderWay<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A connection that is closed within the response.
fn broken_off() -> Response {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::new(Body::from_stream(futures::stream::iter([Err::<&str, _>(
        reset,
    )])))
}

/// Response to a watch of a version that has been compacted.
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
