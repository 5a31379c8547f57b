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
mod process;
#[cfg(test)]
mod reference;
mod runs;
mod seen;
mod self_metrics;
mod stuck;
#[cfg(test)]
mod tests;

pub use cleared::Uncleared;
pub use format::{Coding, Format};
pub use seen::{REVISION, UNKNOWN_REVISION};
pub use self_metrics::{AlertOutcome, AlertSource, SelfMetrics, StepOutcome};

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, watch};

use crate::state::view::View;
use family::Encoder;
use process::Resources;

/// Why the exposition could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// A family could not be written.
    #[error("failed to write the metrics: {0}")]
    Write(#[from] fmt::Error),
    /// The exposition could not be compressed.
    #[error("failed to compress the metrics: {0}")]
    Compress(#[from] std::io::Error),
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
    /// The latest exposition in each format and coding.
    latest: [[Option<Exposition>; 2]; 2],
}

/// An exposition, and when writing it started.
#[derive(Debug)]
struct Exposition {
    begun: Instant,
    body: Arc<[u8]>,
}

impl Writer {
    /// The exposition, if writing it started after `asked`, so that it shows everything until then.
    fn latest(&self, format: Format, coding: Coding, asked: Instant) -> Option<Arc<[u8]>> {
        let latest = self.latest[format as usize][coding as usize].as_ref()?;
        (latest.begun >= asked).then(|| latest.body.clone())
    }

    fn write(&mut self, format: Format, coding: Coding) -> Result<Arc<[u8]>, ScrapeError> {
        let begun = Instant::now();
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        if format == Format::Classic {
            text = format::classic(&text);
        }
        let body: Arc<[u8]> = match coding {
            Coding::Identity => text.into_bytes().into(),
            Coding::Gzip => gzip(text.as_bytes())?.into(),
        };
        self.latest[format as usize][coding as usize] = Some(Exposition {
            begun,
            body: body.clone(),
        });
        Ok(body)
    }
}

/// Compresses at the fastest level: labels repeat so much that the others take longer for little.
fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    encoder.finish()
}

impl Metrics {
    /// Metrics of the latest of `views`, and of `own`.
    pub fn new(views: watch::Receiver<Arc<View>>, own: SelfMetrics) -> Self {
        let machine = Machine {
            clock: Timestamp::now,
            resources: Resources::read,
        };
        Self::on(machine, views, own)
    }

    fn on(machine: Machine, views: watch::Receiver<Arc<View>>, own: SelfMetrics) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot {
            views,
            own,
            machine,
        }));
        let writer = Writer {
            registry,
            latest: Default::default(),
        };
        Self {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// The exposition. Only one is written at a time, in a blocking task: with everything stuck, it takes long enough to
    /// delay others. All waiting scrapes receive the same one, so that Prometheus waits for at most two.
    pub async fn scrape(&self, format: Format, coding: Coding) -> Result<Arc<[u8]>, ScrapeError> {
        let asked = Instant::now();
        let mut writer = self.writer.clone().lock_owned().await;
        if let Some(body) = writer.latest(format, coding, asked) {
            return Ok(body);
        }
        tokio::task::spawn_blocking(move || writer.write(format, coding)).await?
    }
}

/// Reads that differ at each exposition.
#[derive(Clone, Copy, Debug)]
struct Machine {
    clock: fn() -> Timestamp,
    resources: fn() -> Resources,
}

/// Writes every family in the order of the table.
#[derive(Debug)]
struct Snapshot {
    views: watch::Receiver<Arc<View>>,
    own: SelfMetrics,
    machine: Machine,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Cloned, so that writing does not delay the next view.
        let view = self.views.borrow().clone();
        let mut encoder = Encoder::new(encoder);
        stuck::encode(&view, &mut encoder)?;
        self.own.encode_cleared(&mut encoder)?;
        holds::encode(&view, (self.machine.clock)(), &mut encoder)?;
        runs::encode(&view, &mut encoder)?;
        seen::encode(&view, &mut encoder)?;
        self.own.encode(&mut encoder)?;
        process::encode(&(self.machine.resources)(), &mut encoder)
    }
}
