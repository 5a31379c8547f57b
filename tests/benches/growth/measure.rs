//! The measurements themselves.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use locksmith::config::Config;
use locksmith::findings::{self, DetectionSettings};
use locksmith::metrics::{Coding, Format, Metrics, SelfMetrics};
use locksmith::model::Model;
use locksmith::state::view::{self, View};
use locksmith::watch::Patterns;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster::{Cluster, Shape};
use crate::figures::{Spread, duration, memory, timed};

/// Maximum number of repetitions.
const MOST: usize = 200;

/// Minimum number of repetitions.
const LEAST: usize = 10;

/// Time after which a measurement is no longer repeated.
const ENOUGH: Duration = Duration::from_secs(10);

/// Cost of one cluster.
#[derive(Deserialize, Serialize)]
pub struct Figures {
    pub claims: usize,
    pub objects: usize,
    pub stuck: usize,
    /// Time to change one claim and take a view, in seconds.
    pub event: Spread,
    /// Number of such changes.
    pub events: usize,
    /// Time of a scrape, in seconds.
    pub scrape: Spread,
    /// Size of a scrape, in bytes.
    pub body: f64,
    /// Resident memory per object without the view, in bytes.
    pub bytes: f64,
    /// Peak memory of the process, in bytes: the objects, two views and a scrape.
    pub peak: f64,
}

pub fn measure(claims: usize, shape: Shape) -> Figures {
    let (config, now) = (Config::default(), Timestamp::now());
    let cluster = Cluster {
        claims,
        shape,
        now,
        patterns: Arc::new(Patterns::new(&config).unwrap()),
    };
    let settings = DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: false,
    };
    // Memory that the first objects leave in the allocator does not belong to the model.
    cluster.objects().take(1_000).for_each(drop);
    let resident = || memory(std::process::id(), "VmRSS");
    let before = resident();
    let (model, objects) = filled(&cluster);
    let bytes = (resident() - before) / objects as f64;
    let (events, view) = events(&cluster, model, &config, &settings);
    let stuck = view.stuck().count();

    let (_publish, views) = watch::channel(Arc::new(view));
    let metrics = Metrics::new(views, SelfMetrics::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scrape = || {
        runtime
            .block_on(metrics.scrape(Format::OpenMetrics, Coding::Identity))
            .unwrap()
    };
    let body = scrape().len() as f64;
    let scrapes = repeated(|_| timed(|| drop(scrape())));
    Figures {
        claims,
        objects,
        stuck,
        events: events.len(),
        event: Spread::of(events),
        scrape: Spread::of(scrapes),
        body,
        bytes,
        peak: memory(std::process::id(), "VmHWM"),
    }
}

/// Results of `measure`, which receives the number of the repetition.
fn repeated(mut measure: impl FnMut(usize) -> f64) -> Vec<f64> {
    let begun = Instant::now();
    (0..MOST)
        .take_while(|time| *time < LEAST || begun.elapsed() < duration(ENOUGH))
        .map(&mut measure)
        .collect()
}

/// A model of the whole cluster, and its number of objects.
pub fn filled(cluster: &Cluster) -> (Model, usize) {
    let mut model = Model::default();
    let mut objects = 0;
    for class in Cluster::classes() {
        model.apply(class);
    }
    for object in cluster.objects() {
        model.apply(object);
        objects += 1;
    }
    (model, objects)
}

/// Makes one claim after the other Pending and Bound again. Returns the seconds of each change, and the last view.
fn events(
    cluster: &Cluster,
    mut model: Model,
    config: &Config,
    settings: &DetectionSettings,
) -> (Vec<f64>, View) {
    let mut latest = view::take(&model, config, settings, cluster.now);
    let times = repeated(|time| {
        let event = cluster.claim(time / 2 * 3 + 1, time % 2 == 1);
        timed(|| {
            model.apply(event);
            model.forget(cluster.now);
            latest = view::take(&model, config, settings, cluster.now);
            black_box(findings::next_due(&model, settings, cluster.now));
        })
    });
    (times, latest)
}
