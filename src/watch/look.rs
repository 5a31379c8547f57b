//! One look at a cluster, for the command line.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::config::Config;
use crate::metrics::Own;
use crate::model::Reading;
use crate::view::View;

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

/// Looks until everything has been read once, for at most `timeout`.
pub async fn look(client: Client, config: &Config, timeout: Duration) -> Result<View, LookError> {
    let (store, _tasks) = super::start(&client, &Arc::new(config.clone()), &Own::default())?;
    let mut views = store.views();
    let complete = async {
        views
            .wait_for(|view| view.complete())
            .await
            .map(|view| view.clone())
    };
    if let Ok(Ok(view)) = tokio::time::timeout(timeout, complete).await {
        return Ok(Arc::unwrap_or_clone(view));
    }
    let missing = store.read(|model| {
        let doubts = model.freshness.doubts();
        doubts
            .map(|(kind, reading)| match reading {
                Reading::Failing(why) => format!("{}: {why}", kind.as_str()),
                _ => format!("{}: no answer", kind.as_str()),
            })
            .collect()
    });
    Err(LookError::Incomplete {
        waited: timeout,
        missing,
    })
}
