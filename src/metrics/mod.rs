//! The exposition that Prometheus scrapes, from the latest [`View`] and the program's own counters.
//!
//! Series about objects are written from the view at each scrape, so that none outlives its object and the cost of a scrape
//! scales with the stuck objects. [`families`] is the table of all families; `deploy/docs/metrics.md` is generated from it,
//! too.

mod cleared;
pub mod families;
pub mod family;
mod format;
mod holds;
#[cfg(test)]
mod reference;
mod runs;
mod seen;
mod self_metrics;
mod stuck;
#[cfg(test)]
mod tests;

pub use cleared::Uncleared;
pub use format::Format;
pub use self_metrics::{AlertOutcome, AlertSource, SelfMetrics, StepOutcome};

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, watch};

use crate::state::view::View;
use family::Encoder;

/// Why the exposition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// A family could not be written.
    #[error("failed to write the metrics: {0}")]
    Write(#[from] fmt::Error),
    /// The task that writes it ended early.
    #[error("failed to write the metrics: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// All metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    writer: Arc<Mutex<Writer>>,
}

/// Writes expositions, one at a time.
#[derive(Debug)]
struct Writer {
    registry: Registry,
    /// The latest exposition in each format, and when writing it started.
    latest: [Option<(Instant, Arc<str>)>; 2],
}

impl Writer {
    /// The exposition, if writing it started after `asked`, so that it shows everything until then.
    fn latest(&self, format: Format, asked: Instant) -> Option<Arc<str>> {
        let (begun, body) = self.latest[format as usize].as_ref()?;
        (*begun >= asked).then(|| body.clone())
    }

    fn write(&mut self, format: Format) -> Result<Arc<str>, ScrapeError> {
        let begun = Instant::now();
        let mut body = String::new();
        text::encode(&mut body, &self.registry)?;
        let body: Arc<str> = match format {
            Format::OpenMetrics => body.into(),
            Format::Classic => format::classic(&body).into(),
        };
        self.latest[format as usize] = Some((begun, body.clone()));
        Ok(body)
    }
}

impl Metrics {
    /// Metrics of the latest of `views`, and of `own`.
    pub fn new(views: watch::Receiver<Arc<View>>, own: SelfMetrics) -> Self {
        Self::with_clock(views, own, Timestamp::now)
    }

    fn with_clock(
        views: watch::Receiver<Arc<View>>,
        own: SelfMetrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        let mut registry = Registry::with_prefix(family::PREFIX);
        registry.register_collector(Box::new(Snapshot { views, own, clock }));
        let writer = Writer {
            registry,
            latest: [None, None],
        };
        Self {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// The exposition. Only one is written at a time, in a blocking task: with everything stuck, it takes long enough to
    /// delay others. All waiting scrapes receive the same one, so that Prometheus waits for at most two.
    pub async fn scrape(&self, format: Format) -> Result<Arc<str>, ScrapeError> {
        let asked = Instant::now();
        let mut writer = self.writer.clone().lock_owned().await;
        if let Some(body) = writer.latest(format, asked) {
            return Ok(body);
        }
        tokio::task::spawn_blocking(move || writer.write(format)).await?
    }
}

/// Writes every family in the order of the table.
#[derive(Debug)]
struct Snapshot {
    views: watch::Receiver<Arc<View>>,
    own: SelfMetrics,
    clock: fn() -> Timestamp,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Cloned, so that writing does not delay the next view.
        let view = self.views.borrow().clone();
        let mut encoder = Encoder::new(encoder);
        stuck::encode(&view, &mut encoder)?;
        self.own.encode_cleared(&mut encoder)?;
        holds::encode(&view, (self.clock)(), &mut encoder)?;
        runs::encode(&view, &mut encoder)?;
        seen::encode(&view, &mut encoder)?;
        self.own.encode(&mut encoder)
    }
}
