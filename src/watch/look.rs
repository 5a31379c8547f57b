//! One look at a cluster, for the command line.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::lookups;
use crate::config::Config;
use crate::findings::Policy;
use crate::metrics::Own;
use crate::model::{Model, Reading};
use crate::view::{self, View};

/// Why no view could be had.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A lock pattern of the configuration cannot be used.
    #[error(transparent)]
    Pattern(#[from] crate::locks::PatternError),
    /// Some kinds could not be read.
    #[error("could not look at the whole cluster within {}: {}", humantime::format_duration(*.waited), .missing.join("; "))]
    Incomplete {
        /// How long was waited.
        waited: Duration,
        /// What could not be read, and why.
        missing: Vec<String>,
    },
}

/// Looks until everything has been read once, and missing claims asked for twice, for at most `timeout`.
pub async fn look(client: Client, config: &Config, timeout: Duration) -> Result<View, LookError> {
    let config = Arc::new(config.clone());
    let policy = Policy {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        glance: true,
    };
    let (store, _tasks) = super::start_with(
        &client,
        &config,
        policy.clone(),
        lookups::SHORTEST_PAUSE,
        &Own::default(),
    )?;
    let mut views = store.views();
    let complete = async {
        while views.changed().await.is_ok() {
            // What a view was taken of may be older than the model is by now: so it is taken of what is judged here.
            let seen = store.read(|model| {
                let view = view::take(model, &config, &policy, Timestamp::now());
                (view.complete() && lookups::open(model).is_empty()).then_some(view)
            });
            if seen.is_some() {
                return seen;
            }
        }
        None
    };
    if let Ok(Some(view)) = tokio::time::timeout(timeout, complete).await {
        return Ok(view);
    }
    let missing = store.read(missing);
    Err(LookError::Incomplete {
        waited: timeout,
        missing,
    })
}

/// What could not be read, and why.
fn missing(model: &Model) -> Vec<String> {
    let kinds = model
        .freshness
        .doubts()
        .map(|(kind, reading)| match reading {
            Reading::Failing(why) => format!("{}: {why}", kind.as_str()),
            _ => format!("{}: no answer", kind.as_str()),
        });
    let claims = lookups::open(model);
    let claims = claims
        .iter()
        .map(|(namespace, name)| format!("PersistentVolumeClaim {namespace}/{name}: no answer"));
    kinds.chain(claims).collect()
}
