//! A process that may make so many writes in its life, and dies by `kill -9` at the last one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::SetOnce;

use crate::daemon::Daemon;
use crate::proxy::{Call, Proxy, script};
use crate::stage::{Settings, Stage};

/// How a process is to die.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// The number of its last write.
    pub at: usize,
    /// Whether it hears the answer to the last write, and goes on as far as it gets without another one.
    pub answered: bool,
    /// Whether Events count too. The Lease never does: it is renewed whatever happens.
    pub events: bool,
}

impl Death {
    /// A life without end.
    pub const NEVER: Self = Self {
        at: usize::MAX,
        answered: true,
        events: true,
    };

    fn counts(self, call: &Call) -> bool {
        call.is_write() && !call.is_lease() && (self.events || !call.is_event())
    }
}

/// One life. Its name is always the same, so that it goes on with the Lease of the life before.
pub struct Life {
    course: Arc<Course>,
    pub daemon: Daemon,
    _proxy: Proxy,
}

impl Life {
    pub async fn begin(stage: &Stage, settings: &Settings, death: Death) -> Self {
        let course = Arc::new(Course {
            death,
            kill: SetOnce::new(),
            turn: tokio::sync::Mutex::new(()),
            writes: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let calls = course.clone();
        let pass = script(move |call| calls.clone().pass(call));
        let proxy = Proxy::start(stage.user(), pass).await;
        let daemon = Daemon::start(proxy.kubeconfig(), &settings.yaml()).await;
        let _ = course.kill.set(Box::new(daemon.signals()));
        Self {
            course,
            daemon,
            _proxy: proxy,
        }
    }

    /// The writes it has made that count.
    pub fn writes(&self) -> Vec<String> {
        self.course.writes.lock().unwrap().clone()
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
    /// One write at a time: of two under way nobody could say which came before the death.
    turn: tokio::sync::Mutex<()>,
    writes: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Course {
    async fn pass(self: Arc<Self>, call: Call) -> Response {
        if !self.death.counts(&call) {
            return call.forward().await;
        }
        let _turn = self.turn.lock().await;
        let made = self.writes.lock().unwrap().len();
        if made >= self.death.at {
            return self.end().await;
        }
        self.writes.lock().unwrap().push(call.text());
        let answer = call.forward().await;
        if made + 1 == self.death.at && !self.death.answered {
            return self.end().await;
        }
        answer
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
