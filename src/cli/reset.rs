//! `locksmith reset`: resets the circuit breaker.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::output::print_line;
use super::{ClusterArgs, remediations};
use crate::cluster::CALL_TIMEOUT;
use crate::gates::RESET_ANNOTATION;

/// Reset the circuit breaker, so that runs start again after several have failed
///
/// Marks the latest finished run; failures up to it no longer count.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace of the Remediations; needed only if several namespaces have some
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let runs = remediations::runs(&client, args.namespace.as_deref()).await?;
    let finished = |run: &crate::api::remediation::Remediation| {
        let status = run.status.as_ref()?;
        status.started_at.and(status.finished_at)
    };
    // A daemon counts the failures of its own namespace only.
    let namespaces: BTreeSet<_> = runs
        .iter()
        .filter(|run| finished(run).is_some())
        .filter_map(ResourceExt::namespace)
        .collect();
    if namespaces.len() > 1 {
        let namespaces: Vec<_> = namespaces.into_iter().collect();
        bail!(
            "runs have finished in the namespaces {}; choose one with --namespace",
            namespaces.join(", ")
        );
    }
    let Some(last) = runs
        .iter()
        .filter(|run| finished(run).is_some())
        .max_by_key(|run| finished(run))
    else {
        print_line("no run has finished")?;
        return Ok(ExitCode::SUCCESS);
    };
    let by = remediations::name(&client).await.unwrap_or_default();
    let mark = format!("{} {by}", Timestamp::now());
    let patch = json!({ "metadata": { "annotations": { RESET_ANNOTATION: mark.trim() } } });
    remediations::change(&client, last, patch).await?;
    let name = last.name_any();
    print_line(format_args!("reset: failures up to {name} no longer count"))?;
    Ok(ExitCode::SUCCESS)
}
