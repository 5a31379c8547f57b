//! `locksmith version`: the versions of this program and of the daemon.

use std::process::ExitCode;

use serde::Serialize;

use super::daemon::{Build, Daemon, DaemonArgs, NAMESPACE};
use super::output::ResultArgs;
use super::{ClusterArgs, FAILED};
use crate::cluster::CALL_TIMEOUT;

/// Print the versions of this program and of the daemon
///
/// Prints the commit, too, if it is known. The daemon's version is read from its metrics; --url reads them without a cluster.
/// Exits with 2 if they cannot be read. --client prints only the version of this program.
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
    client_version: Build,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon_version: Option<Build>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let daemon = if args.client {
        Ok(None)
    } else {
        args.daemon().await.map(Some)
    };
    let versions = Versions {
        client_version: Build::own(),
        daemon_version: daemon.as_ref().ok().cloned().flatten(),
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
        let client = format!("Client: {}\n", self.client_version);
        match &self.daemon_version {
            Some(daemon) => format!("{client}Daemon: {daemon}\n"),
            None => client,
        }
    }
}

impl Args {
    async fn daemon(&self) -> Result<Build, String> {
        if let Some(daemon) = self.daemon.clone().daemon() {
            return daemon.build().await;
        }
        let client = self.cluster.client(CALL_TIMEOUT).await;
        let client = client.map_err(|error| error.to_string())?;
        // The configuration, which this command does not read, has whether it serves TLS.
        let proxied = |tls| Daemon::proxied(&client, &self.namespace, tls);
        match proxied(false).build().await {
            Ok(build) => Ok(build),
            Err(why) => proxied(true).build().await.map_err(|_| why),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use clap::Parser as _;

    use super::*;

    const METRICS: &str = "locksmith_build_info{version=\"0.0.7\",revision=\"abc\"} 1\n";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[tokio::test]
    async fn daemon_at_a_url_needs_no_cluster() {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/metrics", get(async || METRICS));
        tokio::spawn(async { axum::serve(listener, router).await });
        let line = ["version", "--kubeconfig", "/nowhere/config", "--url", &url];
        let args = Line::try_parse_from(line).unwrap().args;
        let versions = Versions {
            client_version: Build::own(),
            daemon_version: Some(args.daemon().await.unwrap()),
        };
        let text = versions.text();
        assert!(text.ends_with("Daemon: 0.0.7 (abc)\n"), "{text}");
        let data = serde_json::to_value(&versions).unwrap();
        assert_eq!(data["daemonVersion"]["revision"], "abc");
    }
}
