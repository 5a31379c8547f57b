//! The task that owns the model, and the handle for everything else.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::findings::{self, DetectionSettings};
use crate::metrics::{SelfMetrics, Uncleared};
use crate::model::{Change, Discovery, Model};
use crate::state::view::{self, View};
use crate::tasks::Tasks;

/// Shortest pause between two views. In a quiet cluster a change is shown immediately; a list of thousands arrives in many
/// pieces, and a view of each would be wasted.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// The pause as a multiple of the time that the view took, so that views use at most a fifth of a core while a run changes
/// thousands of objects.
const PAUSE_FACTOR: u32 = 4;

/// Longest pause: a change, such as the kill switch, reaches the model no later.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Longest time between two views: leases become stale, and refusals end, without a change.
const TICK: Duration = Duration::from_secs(1);

/// The model, owned by one task, and its latest view. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    model: Arc<RwLock<Model>>,
    views: watch::Receiver<Arc<View>>,
    /// Weak, so that the task ends with the last observer.
    changes: mpsc::WeakSender<Change>,
}

impl Store {
    /// Runs a pure function on the current model.
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, with the view that was taken of this model.
    pub fn judge<T>(&self, look: impl FnOnce(&Model, &View) -> T) -> T {
        self.read(|model| look(model, &self.view()))
    }

    /// Adds a change that does not come from observing the cluster.
    pub async fn tell(&self, change: Change) {
        if let Some(changes) = self.changes.upgrade() {
            // An error means that the task has ended, so that the model is no longer read.
            let _ = changes.send(change).await;
        }
    }

    /// A receiver of views, to read the latest or await the next.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// The latest view.
    pub fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }
}

#[cfg(test)]
impl Store {
    /// A store of a model that never changes, and the sender of its views.
    pub fn of(model: Model) -> (Self, watch::Sender<Arc<View>>) {
        let first = view::take(
            &model,
            &Config::default(),
            &DetectionSettings::default(),
            Timestamp::now(),
        );
        let (publish, views) = watch::channel(Arc::new(first));
        let (changes, _) = mpsc::channel(1);
        let store = Self {
            model: Arc::new(RwLock::new(model)),
            views,
            changes: changes.downgrade(),
        };
        (store, publish)
    }
}

/// Starts the task.
pub fn start(
    (changes, received): (&mpsc::Sender<Change>, mpsc::Receiver<Change>),
    config: Arc<Config>,
    settings: DetectionSettings,
    own: SelfMetrics,
    tasks: &mut Tasks,
) -> Store {
    let nothing = Model {
        discovery: Discovery::of(&config),
        ..Model::default()
    };
    let first = view::take(&nothing, &config, &settings, Timestamp::now());
    let model = Arc::new(RwLock::new(nothing));
    let (publish, views) = watch::channel(Arc::new(first));
    let task = ModelTask {
        model: model.clone(),
        config,
        settings,
        own,
        publish,
        clock: Timestamp::now,
    };
    tasks.spawn("model", task.keep(received));
    Store {
        model,
        views,
        changes: changes.downgrade(),
    }
}

/// The only writer of the model.
struct ModelTask<C> {
    model: Arc<RwLock<Model>>,
    config: Arc<Config>,
    settings: DetectionSettings,
    own: SelfMetrics,
    publish: watch::Sender<Arc<View>>,
    clock: C,
}

impl<C: Fn() -> Timestamp> ModelTask<C> {
    /// Applies changes until all senders are dropped.
    async fn keep(self, mut changes: mpsc::Receiver<Change>) {
        let mut batch = Vec::new();
        let mut standing = Uncleared::default();
        let mut idle = TICK;
        let mut free = Instant::now();
        let heartbeat = self.own.heartbeats().add("model");
        loop {
            heartbeat.beat();
            let arriving = changes.recv_many(&mut batch, usize::MAX);
            let arrived = tokio::time::timeout(idle, arriving).await;
            if arrived == Ok(0) {
                return;
            }
            let _ = tokio::time::timeout_at(free, async {
                while changes.recv_many(&mut batch, usize::MAX).await > 0 {}
            })
            .await;
            let now = (self.clock)();
            let begun = Instant::now();
            let (view, due) = {
                let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
                batch.drain(..).for_each(|change| model.apply(change));
                model.forget(now);
                let view = Arc::new(view::take(&model, &self.config, &self.settings, now));
                // Before the model can be read again, so that both are of one moment.
                self.publish.send_replace(view.clone());
                (view, findings::next_due(&model, &self.settings, now))
            };
            let took = begun.elapsed();
            self.own.view_taken(took);
            for (finding, stood) in standing.cleared(&view) {
                self.own.cleared(finding, stood);
            }
            let until_due = due.and_then(|due| Duration::try_from(due.duration_since(now)).ok());
            idle = until_due.map_or(TICK, |until_due| until_due.min(TICK));
            free = Instant::now() + pause(took);
        }
    }
}

/// The pause after a view that took `took`.
fn pause(took: Duration) -> Duration {
    (took * PAUSE_FACTOR).clamp(DEBOUNCE, MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::model::fixture::{Told, World, at, claim};
    use crate::tasks::heartbeat::SILENT_AFTER;

    /// A task on the runtime's clock, which is paused and advances only while all tasks wait.
    fn kept(settings: DetectionSettings) -> (mpsc::Sender<Change>, watch::Receiver<Arc<View>>) {
        let (changes, views, _) = kept_with(settings, SelfMetrics::default());
        (changes, views)
    }

    fn kept_with(
        settings: DetectionSettings,
        own: SelfMetrics,
    ) -> (
        mpsc::Sender<Change>,
        watch::Receiver<Arc<View>>,
        tokio::task::JoinHandle<()>,
    ) {
        let config = Arc::new(Config::default());
        let first = view::take(&Model::default(), &config, &settings, at(0));
        let (publish, views) = watch::channel(Arc::new(first));
        let begun = Instant::now();
        let task = ModelTask {
            model: Arc::new(RwLock::new(World::rook().0)),
            config,
            settings,
            own,
            publish,
            clock: move || at(0) + begun.elapsed(),
        };
        let (changes, received) = mpsc::channel(64);
        let task = tokio::spawn(task.keep(received));
        (changes, views, task)
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_keeper_is_found() {
        let own = SelfMetrics::default();
        let (_changes, _views, task) = kept_with(ten_minutes(), own.clone());
        tokio::time::sleep(SILENT_AFTER * 2).await;
        assert_eq!(own.heartbeats().silent(Instant::now()), None);
        task.abort();
        tokio::time::sleep(SILENT_AFTER * 2).await;
        let silent = own.heartbeats().silent(Instant::now());
        assert_eq!(silent.map(|(name, _)| name), Some("model"));
    }

    fn ten_minutes() -> DetectionSettings {
        let config = Config::default();
        DetectionSettings {
            detect: config.detect,
            drivers: config.drivers,
            one_shot: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn change_in_a_quiet_cluster_is_shown_immediately() {
        let (changes, mut views) = kept(ten_minutes());
        tokio::time::sleep(DEBOUNCE * 3).await;
        let sent = Instant::now();
        let pending = claim("media", "prowlarr").pending().created(at(-11));
        changes.send(pending.into()).await.unwrap();
        views
            .wait_for(|view| view.stuck().count() == 1)
            .await
            .unwrap();
        assert_eq!(sent.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn flood_of_changes_is_shown_in_few_views() {
        let (changes, mut views) = kept(ten_minutes());
        let flood = async {
            for _ in 0..200 {
                changes.send(Change::Nothing).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let mut shown = 0;
        let counting = async {
            while views.changed().await.is_ok() {
                shown += 1;
            }
        };
        tokio::select! {
            () = flood => {}
            () = counting => {}
        }
        assert!((3..=6).contains(&shown), "{shown} views in 200 ms");
    }

    #[test]
    fn pause_grows_with_the_view_time_up_to_a_limit() {
        let of = |millis| pause(Duration::from_millis(millis)).as_millis();
        assert_eq!(
            [0, 12, 13, 50, 63, 3_000].map(of),
            [50, 50, 52, 200, 250, 250]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn due_finding_is_shown_without_a_change() {
        // 300 ms before the threshold.
        let mut settings = ten_minutes();
        settings.detect.pending_after = crate::config::Duration::from_millis(600_300);
        let (changes, mut views) = kept(settings);
        let pending = claim("media", "prowlarr").pending().created(at(-10));
        changes.send(pending.into()).await.unwrap();
        let shown = views.wait_for(|view| view.stuck().count() == 1).await;
        let late = shown.unwrap().at.duration_since(at(0)) - SignedDuration::from_millis(300);
        assert!(late <= SignedDuration::from_millis(2), "{late:?} late");
    }
}
