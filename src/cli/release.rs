//! `locksmith release`: switches on again what was switched off, with or without a daemon.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ClusterArgs, FAILED};
use crate::kube_io::{self, CALL_TIMEOUT, Tried};
use crate::leader;

/// How long a daemon that was told to end may take: what Kubernetes grants it, and the Lease of one that was killed.
const DAEMON_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Release what locksmith holds
///
/// Works without the daemon, and is what an uninstall calls. Only what carries locksmith's mark is touched, and each switch
/// goes back to what it was before. Exits with 2 when something could not be released, or nothing is held of a name given.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Everything in all namespaces
    #[arg(long, conflicts_with_all = ["namespace", "names"])]
    all: bool,
    /// Wait until no daemon leads any more, by the Lease in the namespace of this pod or kubeconfig: what is released then
    /// stays released. For an uninstall
    #[arg(long)]
    after_daemon: bool,
    /// Only in this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only sources or claims of these names
    names: Vec<String>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.all && args.namespace.is_none() {
        bail!("release what? Say --all, or -n NAMESPACE with or without names");
    }
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    if args.after_daemon {
        let namespace = client.default_namespace().to_owned();
        let vacant = tokio::time::timeout(
            DAEMON_ENDS_WITHIN,
            leader::vacant(client.clone(), &namespace),
        );
        vacant
            .await
            .context("a daemon still leads: end it first")?
            .context("failed to read the Lease")?;
    }
    let mut held = kube_io::held(&client, args.namespace.as_deref()).await?;
    let not_held = |name: &&String| !held.iter().any(|(object, _)| **name == *object.name);
    let unknown: Vec<_> = args.names.iter().filter(not_held).cloned().collect();
    if !unknown.is_empty() {
        bail!(
            "nothing is held of {}; locksmith status lists what is",
            unknown.join(", ")
        );
    }
    held.retain(|(object, _)| {
        args.names.is_empty() || args.names.iter().any(|name| **name == *object.name)
    });
    if held.is_empty() {
        anstream::println!("nothing is held");
    }
    let mut failed = 0;
    for (object, hold) in held {
        match kube_io::release(&client, &object, None, || Ok(())).await {
            Ok(Tried::Written) => {
                anstream::println!("released {object}, held by {}", hold.run.name);
            }
            Ok(Tried::LeftAlone(why)) => anstream::println!("left alone {object}: {why}"),
            Err(error) => {
                failed += 1;
                anstream::eprintln!("error: {error}");
            }
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}
