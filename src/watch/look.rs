//! One look at a cluster, for the command line.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use crate::config::Config;
use crate::locks::PatternError;
use crate::metrics::Own;
use crate::view::View;

/// Looks until everything has been read once, for at most `timeout`. What could not be read by then, the view's
/// freshness tells.
pub async fn look(
    client: Client,
    config: &Config,
    timeout: Duration,
) -> Result<View, PatternError> {
    let (store, _tasks) = super::start(&client, &Arc::new(config.clone()), &Own::default())?;
    let mut views = store.views();
    let complete = views.wait_for(|view| view.complete());
    // Whether it was enough, whoever reads the view sees in it.
    let _ = tokio::time::timeout(timeout, complete).await;
    Ok(Arc::unwrap_or_clone(store.view()))
}
