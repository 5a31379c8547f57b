//! `locksmith check`: whether locksmith will work in a cluster, and why not.
//!
//! [`gather`] reads everything once, [`judge`] makes an outcome of each check, and [`report`] shows them.

mod catalog;
mod facts;
mod gather;
mod judge;
mod report;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use super::args::{ReadArgs, daemon_namespace};
use super::daemon::DaemonArgs;
use super::output::{self, ResultArgs};
use crate::config::api_url;
pub use gather::alertmanager_config;
use gather::{Sources, gather};
pub use judge::State;
use judge::judge;
use report::{Look, Report};

/// Check that locksmith works in this cluster, or would
///
/// Checks the API server, the CRDs and the hold policy, the CSI drivers and their provisioners, the rights, the daemon, and its
/// Prometheus and Alertmanager. Each warning and failure comes with a hint. Writes nothing, except that in mode act a hold of a
/// uid that nobody has is created, tried and deleted. Exits with 0 if all checks pass, 1 if there are only warnings, and 2 if
/// one fails.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    read: ReadArgs,
    /// Check only what must hold before the installation
    #[arg(long, conflicts_with_all = ["url", "prometheus", "alertmanager"])]
    pre: bool,
    /// Namespace of the daemon [default: remediation.namespace, else that of this pod, else volsync-locksmith]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
    /// URL of Prometheus, which gets no credentials or headers of prometheus.http [default: prometheus.url]
    #[arg(long, value_name = "URL", value_parser = api_url)]
    prometheus: Option<String>,
    /// URL of Alertmanager, which gets no credentials or headers of alertmanager.http [default: alertmanager.url]
    #[arg(long, value_name = "URL", value_parser = api_url)]
    alertmanager: Option<String>,
    /// Exit with 0 if there are only warnings
    #[arg(long)]
    allow_warnings: bool,
    #[command(flatten)]
    result: ResultArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (result, allow_warnings) = (args.result.clone(), args.allow_warnings);
    let facts = gather(args.sources().await?).await?;
    let observed = facts.cluster.as_ref().map(|cluster| &cluster.observed);
    let report = Report::of(&judge(&facts), observed, facts.before_install);
    result.print(&report, || {
        report.text(Look {
            colour: output::has_colour(),
            unicode: speaks_utf8(|name| std::env::var(name).ok()),
        })
    })?;
    let code = report.exit_code();
    let tolerated = allow_warnings && code == 1;
    Ok(ExitCode::from(if tolerated { 0 } else { code }))
}

impl Args {
    async fn sources(self) -> anyhow::Result<Sources> {
        let mut config = self.read.config()?;
        let (cluster, timeout) = self.read.cluster().await?;
        let namespace = daemon_namespace(self.namespace, &config, &cluster);
        config.remediation.namespace = Some(namespace.as_str().into());
        config.prometheus = config.prometheus.or_at(self.prometheus);
        config.alertmanager = config.alertmanager.or_at(self.alertmanager);
        Ok(Sources {
            cluster,
            config,
            namespace,
            before_install: self.pre,
            daemon: self.daemon.daemon(),
            timeout,
        })
    }
}

/// Whether the locale is in UTF-8, by the first variable that POSIX has count.
fn speaks_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_ascii_lowercase().replace('-', "");
        value.contains("utf8")
    })
}
