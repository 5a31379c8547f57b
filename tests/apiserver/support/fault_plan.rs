//! What may become of a request to an API server under stress, by chance that can be repeated.

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

/// One way a request can go wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// 409.
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
pub enum Sort {
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

/// An API server's bad time.
pub struct Troubles {
    chance: Mutex<Rng>,
    had: Mutex<BTreeMap<(Sort, Fault), usize>>,
    calm: AtomicBool,
    /// When it began, and how long it storms and then is calm by turns.
    waves: Option<(Instant, Duration)>,
    under_way: watch::Sender<usize>,
}

impl Troubles {
    /// A bad time that is always the same by `seed`.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self::with(seed, None))
    }

    /// One that comes and goes: a storm of `wave`, then as long a calm.
    pub fn in_waves(seed: u64, wave: Duration) -> Arc<Self> {
        Arc::new(Self::with(seed, Some((Instant::now(), wave))))
    }

    fn with(seed: u64, waves: Option<(Instant, Duration)>) -> Self {
        Self {
            chance: Mutex::new(Rng::with_seed(seed)),
            had: Mutex::default(),
            calm: AtomicBool::new(false),
            waves,
            under_way: watch::Sender::new(0),
        }
    }

    /// What a proxy is to do with each request.
    pub fn script(self: &Arc<Self>) -> Script {
        let troubles = self.clone();
        script(move |call| {
            let passing = tokio::spawn(troubles.clone().pass(call));
            async move { passing.await.unwrap() }
        })
    }

    /// How often each came about.
    pub fn had(&self) -> BTreeMap<(Sort, Fault), usize> {
        self.had.lock().unwrap().clone()
    }

    /// Those of the faults there are that nothing met with.
    pub fn missed(&self) -> Vec<(Sort, Fault)> {
        let had = self.had.lock().unwrap();
        let all = [Sort::Write, Sort::Read, Sort::Watch];
        let all = all.map(|sort| sort.faults().iter().map(move |fault| (sort, *fault)));
        let all = all.into_iter().flatten();
        all.filter(|fault| !had.contains_key(fault)).collect()
    }

    /// Whether everything passes from now on.
    pub fn calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Waits until no write is under way.
    pub async fn idle(&self) {
        let mut under_way = self.under_way.subscribe();
        let none = under_way.wait_for(|count| *count == 0).await;
        none.expect("this has the sender");
    }

    /// By chance whether, but not which: the one of its sort that was had least often.
    fn next(&self, call: &Call) -> Option<Fault> {
        let between = |(begun, wave): (Instant, Duration)| {
            begun.elapsed().as_millis() / wave.as_millis() % 2 == 1
        };
        if self.calm.load(Ordering::Relaxed) || self.waves.is_some_and(between) {
            return None;
        }
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

    async fn pass(self: Arc<Self>, call: Call) -> Response {
        // Counted to the end, also where whoever asked is gone by then.
        let _under_way = call.is_write().then(|| UnderWay::new(&self.under_way));
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

/// A write, from its arrival to its end.
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
