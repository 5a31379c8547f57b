//! The measurements themselves.

use std::hint::black_box;
use std::sync::Arc;

use jiff::Timestamp;
use locksmith::config::Config;
use locksmith::findings::{self, DetectionSettings};
use locksmith::metrics::{Coding, Format, Metrics, SelfMetrics};
use locksmith::model::Model;
use locksmith::state::view;
use locksmith::watch::Patterns;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::figures::{Spread, memory, timed};

/// One object in this number is stuck.
const ONE_IN: usize = 100;

/// Number of stuck objects while only the size of the cluster changes.
const STEADY: usize = 100;

/// Number of repetitions.
const TIMES: usize = 200;

/// Cost of one size.
#[derive(Deserialize, Serialize)]
pub struct Figures {
    pub claims: usize,
    pub objects: usize,
    pub stuck: usize,
    /// Time to change one claim and take a view, in seconds.
    pub event: Spread,
    /// The same with a fixed number of stuck objects.
    pub monotonic: Spread,
    /// Time of a scrape, in seconds.
    pub scrape: Spread,
    /// Size of a scrape, in bytes.
    pub body: f64,
    /// Resident memory per object, in bytes.
    pub bytes: f64,
}

pub fn measure(claims: usize) -> Figures {
    let (config, now) = (Config::default(), Timestamp::now());
    let cluster = Cluster {
        claims,
        one_in: ONE_IN,
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
    let (event, view) = events(&cluster, model, &config, &settings);
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
    let scrape = Spread::times(TIMES, || drop(scrape()));

    let cluster = Cluster {
        one_in: claims / STEADY,
        ..cluster
    };
    let (model, _) = filled(&cluster);
    let (monotonic, _) = events(&cluster, model, &config, &settings);
    Figures {
        claims,
        objects,
        stuck,
        event,
        monotonic,
        scrape,
        body,
        bytes,
    }
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

/// Makes one claim after the other Pending and Bound again.
fn events(
    cluster: &Cluster,
    mut model: Model,
    config: &Config,
    settings: &DetectionSettings,
) -> (Spread, view::View) {
    let mut latest = view::take(&model, config, settings, cluster.now);
    let times = (0..TIMES).map(|time| {
        let event = cluster.claim(time / 2 * 3 + 1, time % 2 == 1);
        timed(|| {
            model.apply(event);
            model.forget(cluster.now);
            latest = view::take(&model, config, settings, cluster.now);
            black_box(findings::next_due(&model, settings, cluster.now));
        })
    });
    let spread = Spread::of(times.collect());
    (spread, latest)
}
