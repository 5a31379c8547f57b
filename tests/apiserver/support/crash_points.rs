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
pub enum KillOn {
    /// Any write that is neither an Event nor the Lease, after its execution and before its response.
    BeforeResponse,
    /// The same, but after its response; the process continues until its next such write.
    AfterResponse,
    /// An Event, whatever other writes are in progress.
    Event,
    /// The Lease, after another write: a process that renews it before has done nothing that could be lost.
    Lease,
}

impl KillOn {
    /// Whether it is a write of this kind, if others were made `before`.
    fn is_of(self, call: &Call, before: bool) -> bool {
        call.is_write()
            && match self {
                Self::BeforeResponse | Self::AfterResponse => !call.is_lease() && !call.is_event(),
                Self::Event => call.is_event(),
                Self::Lease => call.is_lease() && before,
            }
    }
}

/// A daemon that is killed at its first write of one kind.
pub struct DoomedDaemon {
    plan: Arc<KillScript>,
    pub daemon: Daemon,
    _proxy: Proxy,
}

impl DoomedDaemon {
    /// With the name of the previous life, it continues with that one's Lease; with another name it waits until the Lease
    /// expires.
    pub async fn start(stage: &Stage, settings: &Settings, kill_on: KillOn, name: &str) -> Self {
        let plan = Arc::new(KillScript {
            kill_on,
            kill: SetOnce::new(),
            turn: tokio::sync::Mutex::new(()),
            last: Mutex::default(),
            others: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let calls = plan.clone();
        let pass = script(move |call| calls.clone().pass(call));
        let proxy = Proxy::start(stage.user(), pass);
        let daemon = Daemon::replica(name, proxy.kubeconfig(), &settings.yaml()).await;
        let _ = plan.kill.set(Box::new(daemon.signals()));
        Self {
            plan,
            daemon,
            _proxy: proxy,
        }
    }

    /// The write that killed it, or will.
    pub fn last_write(&self) -> Option<String> {
        self.plan.last_write()
    }

    /// Sends it the alert until it is accepted, unless one already was, and waits for its end.
    pub async fn run_until_killed(&self, accepted: &mut bool, alert: &Value) {
        let sending = async {
            if !*accepted {
                self.daemon.notify(alert).await;
                *accepted = true;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sending => {}
            () = self.daemon.ended() => {}
        }
    }
}

impl Drop for DoomedDaemon {
    fn drop(&mut self) {
        self.plan.over.store(true, Ordering::Relaxed);
    }
}

struct KillScript {
    kill_on: KillOn,
    kill: SetOnce<Box<dyn Fn(Signal) + Send + Sync>>,
    /// One write of the kind at a time: of two concurrent ones it would be unknown which preceded the kill.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<String>>,
    /// Number of other writes, apart from Events and the Lease.
    others: AtomicUsize,
    over: AtomicBool,
}

impl KillScript {
    async fn pass(self: Arc<Self>, call: Call) -> Response {
        if !self
            .kill_on
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
        if self.kill_on != KillOn::AfterResponse {
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
