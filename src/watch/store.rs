//! The task that owns the model, and the handle everybody else has.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::findings::Policy;
use crate::metrics::{Own, Standing};
use crate::model::{Change, Model};
use crate::view::{self, View};

/// Observations that arrive within this of each other are shown together.
const GATHER: Duration = Duration::from_millis(50);

/// Time alone makes findings: how often it is looked at when nothing arrives.
const TICK: Duration = Duration::from_secs(1);

/// The model as one task keeps it, and the latest view of it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    model: Arc<RwLock<Model>>,
    views: watch::Receiver<Arc<View>>,
    /// Weak, so that the task ends with those who look.
    changes: mpsc::WeakSender<Change>,
}

impl Store {
    /// Runs a plain function on the model as it is now.
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what did not come from looking at the cluster.
    pub async fn tell(&self, change: Change) {
        if let Some(changes) = self.changes.upgrade() {
            // An error means that the task has ended, and nobody reads the model any more.
            let _ = changes.send(change).await;
        }
    }

    /// The latest view, and a way to await the next.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// The latest view.
    pub fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }
}

/// Starts the task.
pub fn start(
    (changes, received): (&mpsc::Sender<Change>, mpsc::Receiver<Change>),
    config: Arc<Config>,
    policy: Policy,
    own: Own,
    tasks: &mut JoinSet<()>,
) -> Store {
    let model = Arc::new(RwLock::new(Model::default()));
    let first = view::take(&Model::default(), &config, &policy, Timestamp::now());
    let (publish, views) = watch::channel(Arc::new(first));
    tasks.spawn(keep(model.clone(), received, config, own, policy, publish));
    Store {
        model,
        views,
        changes: changes.downgrade(),
    }
}

async fn keep(
    model: Arc<RwLock<Model>>,
    mut changes: mpsc::Receiver<Change>,
    config: Arc<Config>,
    own: Own,
    policy: Policy,
    publish: watch::Sender<Arc<View>>,
) {
    let mut batch = Vec::new();
    let mut standing = Standing::default();
    loop {
        let arrived = tokio::time::timeout(TICK, changes.recv_many(&mut batch, usize::MAX)).await;
        if arrived == Ok(0) {
            return;
        }
        if arrived.is_ok() {
            // A list of thousands comes in many pieces: a view of each would cost more than it tells.
            let _ = tokio::time::timeout(GATHER, async {
                while changes.recv_many(&mut batch, usize::MAX).await > 0 {}
            })
            .await;
        }
        let now = Timestamp::now();
        let begun = Instant::now();
        let view = {
            let mut model = model.write().unwrap_or_else(PoisonError::into_inner);
            batch.drain(..).for_each(|change| model.apply(change));
            model.forget(now);
            view::take(&model, &config, &policy, now)
        };
        own.view_taken(begun.elapsed());
        for (finding, stood) in standing.cleared(&view) {
            own.cleared(finding, stood);
        }
        publish.send_replace(Arc::new(view));
    }
}
