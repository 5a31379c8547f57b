//! What Prometheus scrapes: the latest [`View`] and the program's own counts in, one exposition out.
//!
//! Series about objects are written from the view itself at each scrape, so that none outlives its object and a
//! scrape costs what is stuck, not what there is. [`families`] is the table all families are written from;
//! `deploy/docs/metrics.md` is made from it too.

mod cleared;
pub mod families;
pub mod family;
mod format;
mod holds;
mod own;
#[cfg(test)]
mod reference;
mod runs;
mod seen;
mod stuck;
#[cfg(test)]
mod tests;

pub use cleared::Standing;
pub use format::Format;
pub use own::{AlertOutcome, Own, StepOutcome};

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use tokio::sync::{Mutex, watch};

use crate::view::View;
use family::Encoder;

/// Why there is no exposition.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// A family could not be written.
    #[error("failed to write the metrics: {0}")]
    Write(#[from] fmt::Error),
    /// The task that writes ended early.
    #[error("failed to write the metrics: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Everything there is to scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Metrics of the latest of `views`, and of `own`.
    pub fn new(views: watch::Receiver<Arc<View>>, own: Own) -> Self {
        Self::with_clock(views, own, Timestamp::now)
    }

    fn with_clock(views: watch::Receiver<Arc<View>>, own: Own, clock: fn() -> Timestamp) -> Self {
        let mut registry = Registry::with_prefix(family::PREFIX);
        registry.register_collector(Box::new(Snapshot { views, own, clock }));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// The exposition. One is written at a time, beside the runtime: with everything stuck it
    /// takes long enough for others to notice.
    pub async fn scrape(&self, format: Format) -> Result<String, ScrapeError> {
        let registry = self.registry.clone().lock_owned().await;
        tokio::task::spawn_blocking(move || {
            let mut body = String::new();
            text::encode(&mut body, &registry)?;
            Ok(match format {
                Format::OpenMetrics => body,
                Format::Classic => format::classic(&body),
            })
        })
        .await?
    }
}

/// Writes every family of the table, in its order.
#[derive(Debug)]
struct Snapshot {
    views: watch::Receiver<Arc<View>>,
    own: Own,
    clock: fn() -> Timestamp,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Cloned, so that no new view waits for this one to be written.
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
