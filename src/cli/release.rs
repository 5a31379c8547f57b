//! `locksmith release`: switches on again what was switched off, with or without a daemon.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{ClusterArgs, FAILED};
use crate::holds::HOLD_ANNOTATION;
use crate::kube_io::{self, Ahead, CALL_TIMEOUT, Marked, Tried};
use crate::leader;
use crate::model::ObjectKey;

/// How long a daemon that was told to end may take: what Kubernetes grants it, and the Lease of one that was killed.
const DAEMON_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Release what locksmith holds
///
/// Works without the daemon, and is what an uninstall calls. Only what carries locksmith's mark is touched, and each switch
/// goes back to what it was before. Exits with 2 when something could not be released, a mark
/// cannot be read, or nothing is held of a name given.
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
    let Marked {
        mut held,
        mut unreadable,
    } = kube_io::marked(&client, args.namespace.as_deref()).await?;
    let objects = || held.iter().map(|(object, _)| object).chain(&unreadable);
    let not_held = |name: &&String| !objects().any(|object| **name == *object.name);
    let unknown: Vec<_> = args.names.iter().filter(not_held).cloned().collect();
    if !unknown.is_empty() {
        bail!(
            "nothing is held of {}; locksmith status lists what is",
            unknown.join(", ")
        );
    }
    let asked_for = |object: &ObjectKey| {
        args.names.is_empty() || args.names.iter().any(|name| **name == *object.name)
    };
    held.retain(|(object, _)| asked_for(object));
    unreadable.retain(asked_for);
    if held.is_empty() && unreadable.is_empty() {
        anstream::println!("nothing is held");
    }
    let mut failed = unreadable.len();
    for object in &unreadable {
        anstream::eprintln!(
            "error: the mark {HOLD_ANNOTATION} on {object} cannot be read: look at it, switch on by hand what it says, and take it away"
        );
    }
    let each_alone = Ahead::default();
    for (object, hold) in held {
        match kube_io::release(&client, &object, None, &each_alone, || Ok(())).await {
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
