//! Observes the cluster: sends watch events, Events, log lines and look-ups to the model as [`Change`]s.
//!
//! Every object is converted to its record on arrival, and dropped. This module decides and writes nothing.

mod clock;
pub mod convert;
mod definitions;
mod guarded;
mod kinds;
mod logs;
mod lookups;
mod one_shot;
pub mod prometheus;
mod source;

pub use clock::Clocks;
pub use convert::{
    claim as claim_record, content as content_record, snapshot as snapshot_record,
    source as source_record, volume as volume_record,
};
pub use definitions::state as definitions_state;
pub use guarded::Guarded;
pub use logs::stamped;
pub use one_shot::{Seen, look};

use std::sync::Arc;

use kube::Client;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::csi::{LockPatterns, PatternError};
use crate::findings::DetectionSettings;
use crate::http_client::HttpClient;
use crate::metrics::SelfMetrics;
use crate::model::Change;
use crate::state::{self, Store};
use crate::tasks::Tasks;

/// Maximum number of changes that wait for the model's task.
const QUEUE: usize = 4096;

/// The queue of the model's task.
pub type Changes = mpsc::Sender<Change>;

/// Starts every watch. They end when the returned set is dropped.
pub fn start(
    client: &Client,
    config: &Arc<Config>,
    own: &SelfMetrics,
) -> Result<(Store, Tasks), PatternError> {
    let settings = DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: false,
    };
    start_with(client, config, settings, lookups::Pace::steady(config), own)
}

/// Starts every watch, with this pace of look-ups.
fn start_with(
    client: &Client,
    config: &Arc<Config>,
    settings: DetectionSettings,
    pace: lookups::Pace,
    own: &SelfMetrics,
) -> Result<(Store, Tasks), PatternError> {
    let patterns = Arc::new(Patterns::new(config)?);
    let (changes, received) = mpsc::channel(QUEUE);
    let mut tasks = Tasks::default();
    let store = state::start(
        (&changes, received),
        config.clone(),
        settings,
        own.clone(),
        &mut tasks,
    );
    let namespace = config.remediation.namespace.as_deref();
    let mut kinds = kinds::Kinds::new(client, namespace, &changes, own, &mut tasks);
    kinds.follow_all(&patterns);
    let comparing = clock::compare(client.clone(), changes.clone(), own.clone());
    tasks.spawn("clock", comparing);
    let comparing =
        definitions::compare(client.clone(), config.clone(), changes.clone(), own.clone());
    tasks.spawn("definitions", comparing);
    if let Some(http) = HttpClient::for_gates(config) {
        let polling = prometheus::poll(http, config.clone(), changes.clone());
        tasks.spawn("prometheus", polling);
    }
    let looking_up = lookups::claims(client.clone(), pace, store.clone(), changes.clone());
    tasks.spawn("look-ups", looking_up);
    let following = logs::follow_provisioners(
        client.clone(),
        config.clone(),
        patterns,
        store.clone(),
        own.clone(),
        changes,
    );
    tasks.spawn("logs", following);
    Ok((store, tasks))
}

/// The lock patterns of every configured driver, compiled once.
pub struct Patterns {
    drivers: Vec<(crate::config::Driver, LockPatterns)>,
    common: LockPatterns,
}

impl Patterns {
    /// Compiles the patterns.
    pub fn new(config: &Config) -> Result<Self, PatternError> {
        let compile = |driver: &crate::config::Driver| {
            Ok((driver.clone(), LockPatterns::new(&driver.lock_patterns)?))
        };
        Ok(Self {
            drivers: config
                .drivers
                .0
                .iter()
                .map(compile)
                .collect::<Result<_, _>>()?,
            common: LockPatterns::new(&[])?,
        })
    }

    /// The patterns of `driver`, or the common ones if it is unknown.
    pub fn of(&self, driver: Option<&str>) -> &LockPatterns {
        driver
            .and_then(|name| self.drivers.iter().find(|(driver, _)| driver.matches(name)))
            .map_or(&self.common, |(_, patterns)| patterns)
    }
}
