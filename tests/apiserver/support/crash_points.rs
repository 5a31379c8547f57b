//! A process that may make one write of a sort in its life, and dies by `kill -9` of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::SetOnce;

use crate::support::daemon::Daemon;
use crate::support::fault_proxy::{Call, Proxy, script};
use crate::support::stage::{Settings, Stage};

/// Of what a process dies: of its first write of a sort, of whatever sort those before it were.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Death {
    /// Whatever is neither an Event nor the Lease, once it was done, before it is answered.
    Unheard,
    /// The same, but it hears the answer, and goes on as far as it gets without another such write.
    Heard,
    /// An Event, whatever other writes are on their way just then.
    Event,
    /// The Lease, once something else was written: one that is renewed before that has done nothing to die of.
    Lease,
}

impl Death {
    /// Whether it is a write of the sort, where others were made `before`.
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
    /// Under the name of the life before it goes on with that one's Lease; under another one it waits for its end.
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

    /// The write it died of, or will.
    pub fn last_write(&self) -> Option<String> {
        self.course.last_write()
    }

    /// Tells it of the alert until it takes it, unless it has been told, and waits for its end.
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
    /// One write of the sort at a time: of two under way nobody could say which came before the death.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<String>>,
    /// How many other writes it has made, of Events and the Lease apart.
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
            // Not made: the process is not there any more.
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

    /// Nobody is left to be answered.
    async fn end(&self) -> Response {
        let kill = self.kill.wait().await;
        if !self.over.load(Ordering::Relaxed) {
            kill(Signal::KILL);
        }
        std::future::pending().await
    }
}
