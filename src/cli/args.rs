//! Flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap_complete::engine::ArgValueCandidates;
use kube::Client;

use super::daemon::NAMESPACE;
use super::{ClusterArgs, ClusterError, completion, remediations};
use crate::api::remediation::Remediation;
use crate::cluster::CALL_TIMEOUT;
use crate::config::{self, Config};
use crate::watch::{self, Seen};

/// Flags of the commands that read the whole cluster once.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Configuration of the daemon [default: the values in deploy/locksmith.yaml]
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// Time limit for reading the cluster
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl ReadArgs {
    /// Reads the configuration.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(match &self.config {
            Some(path) => config::load(path)?,
            None => Config::default(),
        })
    }

    /// A client for the chosen cluster.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        self.cluster.client(self.timeout).await
    }

    /// The chosen cluster, which may not answer, and the time limit for reading it.
    pub async fn cluster(&self) -> Result<(kube::Config, Duration), ClusterError> {
        Ok((self.cluster.config().await?, self.timeout))
    }

    /// Reads the cluster, within the time limit.
    pub async fn look(&self, client: Client, config: &Config) -> anyhow::Result<Seen> {
        Ok(watch::look(client, config, self.timeout).await?)
    }
}

/// The namespace of the daemon: the given one, else that of the configuration, of this pod, or the usual one.
pub fn daemon_namespace(given: Option<String>, config: &Config, cluster: &kube::Config) -> String {
    let of_pod = in_cluster().then(|| cluster.default_namespace.clone());
    let configured = config.remediation.namespace.as_deref();
    given
        .or_else(|| configured.map(ToOwned::to_owned))
        .or(of_pod)
        .unwrap_or_else(|| NAMESPACE.to_owned())
}

/// Whether this runs in a pod.
pub fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Flags that limit a list to a namespace.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArgs {
    /// Show only this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Show all namespaces (the default), even if -n is given
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

impl NamespaceArgs {
    /// The only namespace to show; `None` for all. As in kubectl, `-A` wins.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|_| !self.all_namespaces)
    }
}

/// Names one Remediation.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the Remediation, or a unique prefix of it
    #[arg(add = ArgValueCandidates::new(completion::runs))]
    name: String,
    /// Namespace of the Remediation; needed only if the name exists in several namespaces
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

impl RunArgs {
    /// A client for the chosen cluster, and the Remediation.
    pub async fn read(&self) -> anyhow::Result<(Client, Remediation)> {
        let client = self.cluster.client(CALL_TIMEOUT).await?;
        let namespace = self.namespace.as_deref();
        let run = remediations::run_named(&client, namespace, &self.name).await?;
        Ok((client, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use rstest::rstest;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        only: NamespaceArgs,
    }

    #[rstest]
    #[case("list", None)]
    #[case("list -A", None)]
    #[case("list -n media", Some("media"))]
    #[case("list -n media -A", None)]
    #[case("list -A -n media", None)]
    fn all_namespaces_win_over_one(#[case] line: &str, #[case] only: Option<&str>) {
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(line.only.namespace(), only);
    }
}
