//! The daemon: wires what looks, what decides and what writes, and ends them in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config as ClusterConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Mode};
use crate::controller::{self, Controller};
use crate::intake::Desk;
use crate::kube_io::{self, Writer};
use crate::metrics::Own;
use crate::model::Sym;
use crate::server::Server;
use crate::watch::{self, Patterns};
use crate::leader;

/// How long requests under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// What a daemon is started with.
pub struct AppOptions {
    /// The cluster.
    pub cluster: ClusterConfig,
    /// The checked configuration.
    pub config: Config,
    /// Name of this replica; unique among them.
    pub identity: String,
}

/// Runs until `stop`, then ends in order: no new work, the lease released, requests answered.
pub async fn run(options: AppOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let AppOptions { cluster, config, identity } = options;
    let config = Arc::new(config);
    let namespace = config.remediation.namespace.clone();
    let namespace = namespace.unwrap_or_else(|| Sym::from(cluster.default_namespace.as_str()));
    let reading = Client::try_from(cluster.clone()).context("failed to make a client for the cluster")?;
    let (store, watches) = watch::start(&reading, &config)?;
    let own = Own::new();
    let mut acting = JoinSet::new();
    let mut desk = None;
    if config.mode != Mode::Observe {
        let writing = kube_io::writing(&cluster).context("failed to make a client for the cluster")?;
        let (leadership, standing) =
            leader::stand(writing.clone(), &namespace, identity, stop.clone());
        let patterns = Arc::new(Patterns::new(&config)?);
        let writer =
            Writer::new(writing, store.clone(), patterns.clone(), config.clone(), leadership);
        desk = Some(Desk::new(store.clone(), writer.clone(), config.clone(), namespace));
        let controller = Controller {
            store: store.clone(),
            writer,
            patterns,
            config: config.clone(),
            own: own.clone(),
        };
        acting.spawn(standing);
        acting.spawn(stopping(stop.clone(), controller.clone().run()));
        acting.spawn(stopping(stop.clone(), controller::keep(controller)));
    }
    let server = Server::bind(config.server.listen).await?;
    tracing::info!(address = %server.address(), mode = config.mode.as_str(), "listening");
    server.run(store, desk, own, stop.clone(), GRACE).await?;
    stop.cancel();
    while acting.join_next().await.is_some() {}
    drop(watches);
    Ok(())
}

/// Runs `task` until `stop`: at an await, and so between two writes and never within one's answer being recorded
/// by somebody else. What was begun is found again from the status.
async fn stopping(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}
