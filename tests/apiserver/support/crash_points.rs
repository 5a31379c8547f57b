//! A process that may make one write of a kind in its life, and is killed with `kill -9` for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::SetOnce;

use crate::support::daemon::Daemon;
use crate::support::fault_proxy::{Call, Proxy, script};
use crate::support::stage::{Settings, Stage};

/// The write that kills a process: its first of a kind, whatever other writes precede it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Death {
    /// Any write that is neither an Event nor the Lease, after its execution and before its response.
    Unheard,
    /// The same, but after its response; the process continues until its next such write.
    Heard,
    /// An Event, whatever other writes are in progress.
    Event,
    /// The Lease, after another write: a process that renews it before has done nothing that could be lost.
    Lease,
}

impl Death {
    /// Whether it is a write of this kind, if others were made `before`.
    fn is_of(self, call: &Call, before: bool) -> bool {
        call.is_write()
            && match self {
                Self::Unheard | Self::Heard => !call.is_lease() && !call.is_event(),
                Self::Event => call.is_event(),
                Self::Lease => call.is_lease() && before,
            }
    }
}

/// One life.
pub struct Life {
    course: Arc<Course>,
    pub daemon: Daemon,
    _proxy: Proxy,
}

impl Life {
    /// With the name of the previous life, it continues with that one's Lease; with another name it waits until the Lease
    /// expires.
    pub async fn begin(stage: &Stage, settings: &Settings, death: Death, name: &str) -> Self {
        let course = Arc::new(Course {
            death,
            kill: SetOnce::new(),
            turn: tokio::sync::Mutex::new(()),
            last: Mutex::default(),
            others: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let calls = course.clone();
        let pass = script(move |call| calls.clone().pass(call));
        let proxy = Proxy::start(stage.user(), pass);
        let daemon = Daemon::replica(name, proxy.kubeconfig(), &settings.yaml()).await;
        let _ = course.kill.set(Box::new(daemon.signals()));
        Self {
            course,
            daemon,
            _proxy: proxy,
        }
    }

    /// The write that killed it, or will.
    pub fn last_write(&self) -> Option<String> {
        self.course.last_write()
    }

    /// Sends it the alert until it is accepted, unless one already was, and waits for its end.
    pub async fn lived(&self, told: &mut bool, alert: &Value) {
        let telling = async {
            if !*told {
                self.daemon.notify(alert).await;
                *told = true;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = telling => {}
            () = self.daemon.ended() => {}
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.course.over.store(true, Ordering::Relaxed);
    }
}

struct Course {
    death: Death,
    kill: SetOnce<Box<dyn Fn(Signal) + Send + Sync>>,
    /// One write of the kind at a time: of two concurrent ones it would be unknown which preceded the death.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<String>>,
    /// Number of other writes, apart from Events and the Lease.
    others: AtomicUsize,
    over: AtomicBool,
}

impl Course {
    async fn pass(self: Arc<Self>, call: Call) -> Response {
        if !self
            .death
            .is_of(&call, self.others.load(Ordering::Relaxed) > 0)
        {
            let other = call.is_write() && !call.is_lease() && !call.is_event();
            let answer = call.forward().await;
            self.others.fetch_add(usize::from(other), Ordering::Relaxed);
            return answer;
        }
        let _turn = self.turn.lock().await;
        if self.last_write().is_some() {
            // Not executed: the process is gone.
            return self.end().await;
        }
        *self.last.lock().unwrap() = Some(call.text());
        let answer = call.forward().await;
        if self.death != Death::Heard {
            return self.end().await;
        }
        answer
    }

    fn last_write(&self) -> Option<String> {
        self.last.lock().unwrap().clone()
    }

    /// There is no client left to respond to.
    async fn end(&self) -> Response {
        let kill = self.kill.wait().await;
        if !self.over.load(Ordering::Relaxed) {
            kill(Signal::KILL);
        }
        std::future::pending().await
    }
}
