//! One look at a cluster, for the command line.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::lookups;
use crate::config::Config;
use crate::findings::Policy;
use crate::locks::PatternError;
use crate::metrics::Own;
use crate::view::{self, View};

/// Looks until everything has been read once, and missing claims asked for twice, for at most `timeout`. What
/// could not be read by then, the view's freshness tells.
pub async fn look(
    client: Client,
    config: &Config,
    timeout: Duration,
) -> Result<View, PatternError> {
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
    match tokio::time::timeout(timeout, complete).await {
        Ok(Some(view)) => Ok(view),
        _ => Ok(Arc::unwrap_or_clone(store.view())),
    }
}
