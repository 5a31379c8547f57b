//! `locksmith release`: releases holds, with or without a daemon.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::{Client, ResourceExt};

use super::holds::name as holds_name;
use super::output::print_line;
use super::{ClusterArgs, FAILED};
use crate::api::hold::SnapshotHold;
use crate::api::{ObjectKey, Uid};
use crate::cluster::hold as holds;
use crate::cluster::leader;
use crate::cluster::{CALL_TIMEOUT, Tried, WriteError};
use crate::holds::HoldChange;
use crate::text::humanize::count;

/// How long to wait for a daemon to end: the grace period of Kubernetes, and the Lease of one that was killed.
const DAEMON_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Release held sources
///
/// Deletes SnapshotHolds, or removes single sources from them; VolSync continues at its next retry. Works without the daemon.
/// `kubectl delete snapshothold --all -n NAMESPACE` does the same. Exits with 2 if something could not be released or a name
/// is not held.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Release all SnapshotHolds, including planned ones
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Before an uninstall: wait until no daemon holds the leader Lease in the namespace of this pod or kubeconfig
    #[arg(long)]
    after_daemon: bool,
    /// Release only SnapshotHolds in this namespace [default: all]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// SnapshotHolds to release, or single sources as NAMESPACE/NAME
    #[arg(value_name = "HOLD|NAMESPACE/SOURCE")]
    names: Vec<String>,
    /// Accepted for scripts that pass it to commands which prompt; this one does not
    #[arg(short, long = "yes")]
    _yes: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.all && args.names.is_empty() {
        bail!("name a SnapshotHold or a source as NAMESPACE/NAME, or pass --all");
    }
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    if args.after_daemon {
        let namespace = client.default_namespace().to_owned();
        let vacant = leader::vacant(client.clone(), &namespace);
        let vacant = tokio::time::timeout(DAEMON_ENDS_WITHIN, vacant);
        vacant
            .await
            .with_context(|| {
                format!("a daemon still holds the leader Lease; stop it: kubectl delete deployment locksmith -n {namespace}")
            })?
            .context("failed to read the Lease")?;
    }
    let held = holds::list(&client, args.namespace.as_deref()).await?;
    let releases = releases(&held, &args)?;
    if releases.is_empty() {
        print_line("nothing is held")?;
    }
    let mut failed = false;
    for release in releases {
        match carry_out(&client, &release).await {
            Ok(Tried::Written) => print_line(format_args!("released {}", release.says))?,
            Ok(Tried::Skipped(why)) => {
                print_line(format_args!("skipped {}: {why}", release.says))?;
            }
            Err(error) => {
                failed = true;
                anstream::eprintln!("error: {error}");
            }
        }
    }
    Ok(ExitCode::from(if failed { FAILED } else { 0 }))
}

/// One write.
struct Release {
    hold: ObjectKey,
    /// Sources to remove from it; if empty, the hold is deleted.
    sources: Vec<Uid>,
    says: String,
}

/// The writes that release the given names.
fn releases(held: &[SnapshotHold], args: &Args) -> anyhow::Result<Vec<Release>> {
    let is_called =
        |hold: &SnapshotHold, name: &str| hold.name_any() == name || holds_name(hold) == name;
    let named =
        |hold: &&SnapshotHold| args.all || args.names.iter().any(|name| is_called(hold, name));
    let whole = held.iter().filter(named).map(|hold| Release {
        hold: holds::key(hold),
        sources: Vec::new(),
        says: format!(
            "{} held by {}",
            count(hold.spec.sources.len(), "source"),
            holds::key(hold)
        ),
    });
    let mut releases: Vec<_> = whole.collect();
    for name in &args.names {
        let mut found = held.iter().any(|hold| is_called(hold, name));
        for hold in held {
            let sources = hold.spec.sources.iter();
            let sources: Vec<_> = sources
                .filter(|(_, place)| *place == name)
                .map(|(uid, _)| uid.clone())
                .collect();
            if !sources.is_empty() {
                found = true;
                // A hold without sources or classes is deleted.
                let last = sources.len() == hold.spec.sources.len()
                    && hold.spec.snapshot_classes.is_empty();
                releases.push(Release {
                    hold: holds::key(hold),
                    sources: if last { Vec::new() } else { sources },
                    says: format!("{name}, held by {}", holds::key(hold)),
                });
            }
        }
        if !found {
            bail!(
                "{name} is neither a SnapshotHold nor a held source; list the holds with locksmith holds, and the held sources with \
                 locksmith status"
            );
        }
    }
    Ok(releases)
}

async fn carry_out(client: &Client, release: &Release) -> Result<Tried, WriteError> {
    let anybody = async || Ok(());
    if release.sources.is_empty() {
        holds::delete(client, &release.hold, anybody).await
    } else {
        let (hold, sources) = (&release.hold, &release.sources);
        let change = HoldChange {
            remove: sources.clone(),
            ..HoldChange::default()
        };
        holds::patch(client, hold, &change, anybody).await
    }
}
