//! `locksmith version`: the versions of this program and of the daemon.

use std::process::ExitCode;

use serde::Serialize;

use super::daemon::{Daemon, DaemonArgs, NAMESPACE};
use super::output::ResultArgs;
use super::{ClusterArgs, FAILED};
use crate::cluster::CALL_TIMEOUT;

/// Print the versions of this program and of the daemon
///
/// The daemon's is read from its metrics. Exits with 2 if it cannot be read; --client leaves it out, and needs no cluster.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print only the version of this program
    #[arg(long, conflicts_with = "url")]
    client: bool,
    /// Namespace of the daemon
    #[arg(short, long, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
    #[command(flatten)]
    daemon: DaemonArgs,
    #[command(flatten)]
    result: ResultArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client_version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon_version: Option<Version>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: String,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let daemon = if args.client {
        Ok(None)
    } else {
        args.daemon().await.map(Some)
    };
    let versions = Versions {
        client_version: Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        daemon_version: daemon
            .as_ref()
            .ok()
            .cloned()
            .flatten()
            .map(|version| Version { version }),
    };
    args.result.print(&versions, || versions.text())?;
    match daemon {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(why) => {
            anstream::eprintln!("error: the version of the daemon cannot be read: {why}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

impl Versions {
    fn text(&self) -> String {
        let client = format!("Client: {}\n", self.client_version.version);
        match &self.daemon_version {
            Some(daemon) => format!("{client}Daemon: {}\n", daemon.version),
            None => client,
        }
    }
}

impl Args {
    async fn daemon(&self) -> Result<String, String> {
        let client = self.cluster.client(CALL_TIMEOUT).await;
        let client = client.map_err(|error| error.to_string())?;
        if let Some(daemon) = self.daemon.clone().daemon() {
            return daemon.version().await;
        }
        // The configuration, which this command does not read, has whether it serves TLS.
        let proxied = |tls| Daemon::proxied(&client, &self.namespace, tls);
        match proxied(false).version().await {
            Ok(version) => Ok(version),
            Err(why) => proxied(true).version().await.map_err(|_| why),
        }
    }
}
