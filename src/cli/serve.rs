//! `locksmith serve`: reads the configuration, connects to the cluster, and runs the daemon.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ClusterArgs;
use super::log::{self, LogFormat};
use crate::app::{App, AppOptions};
use crate::config::{self, Config};

/// Run the daemon
///
/// Watches the cluster, serves /metrics, and receives Alertmanager notifications. In the default mode, observe, it reports
/// findings and writes nothing to the cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Configuration file [default: the values in deploy/locksmith.yaml]
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on; overrides server.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Unique name of this replica [default: host name and a random suffix]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// Log format; $RUST_LOG sets the filter
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

pub async fn run(args: Args, verbosity: u8) -> anyhow::Result<ExitCode> {
    log::start(args.log_format, "info,kube_client=warn", verbosity);
    let stop = CancellationToken::new();
    let signals = stop_on_signal(stop.clone())?;
    let options = args.options().await?;
    let ended = App::bind(options)?.run(stop).await;
    signals.abort();
    ended.map(|()| ExitCode::SUCCESS)
}

impl Args {
    async fn options(self) -> anyhow::Result<AppOptions> {
        let mut config = match &self.config {
            Some(path) => config::load(path)?,
            None => Config::default(),
        };
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        Ok(AppOptions {
            cluster: self.cluster.config().await?,
            config,
            identity: self
                .identity
                .filter(|it| !it.is_empty())
                .unwrap_or_else(fallback_identity),
        })
    }
}

/// A unique identity without a pod name. A process id would not do: in a container it is always the same.
fn fallback_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "locksmith".to_owned());
    // Seeded by the operating system.
    let random = RandomState::new().build_hasher().finish();
    format!("{host}-{random:016x}")
}

/// Cancels `stop` at SIGTERM or SIGINT.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        stop.cancel();
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two containers of one image have the same process id, and may have the same host name.
    #[test]
    fn fallback_identities_are_unique() {
        assert_ne!(fallback_identity(), fallback_identity());
    }
}
