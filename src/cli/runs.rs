//! `locksmith runs`: lists every Remediation.

use std::pin::pin;
use std::process::ExitCode;

use anyhow::bail;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt;

use super::args::NamespaceArgs;
use super::output::{List, ListArgs};
use super::table::{Column, Layout};
use super::watching::Screen;
use super::{ClusterArgs, remediations};
use crate::api::ObjectKind;
use crate::api::remediation::Remediation;
use crate::cluster::CALL_TIMEOUT;
use crate::text::error_chain;
use crate::text::humanize::{kubectl_name, plain, span};

/// List all runs, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    only: NamespaceArgs,
    /// Keep watching: list again when a run changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    list: ListArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let namespace = args.only.namespace();
    let mut shown = remediations::runs(&client, namespace).await?;
    let mut screen = Screen::new(args.watch);
    screen.show(&text(&shown, &args.list)?)?;
    if !args.watch {
        return Ok(ExitCode::SUCCESS);
    }
    let lists = remediations::lists(&client, namespace).filter_map(async |list| {
        // The watch retries by itself.
        list.inspect_err(|error| {
            anstream::eprintln!("failed to list the runs, retrying: {}", error_chain(error));
        })
        .ok()
    });
    let mut lists = pin!(lists);
    while let Some(runs) = screen.latest(&mut lists).await {
        // The first list may be the one shown.
        if versions(&runs) != versions(&shown) {
            screen.show(&text(&runs, &args.list)?)?;
            shown = runs;
        }
    }
    bail!("the watch of the Remediations ended")
}

/// Identifies a list: ages change its text without a change of a run.
fn versions(runs: &[Remediation]) -> Vec<(Option<String>, Option<String>)> {
    runs.iter()
        .map(|run| (run.uid(), run.resource_version()))
        .collect()
}

/// The runs in the chosen format.
fn text(runs: &[Remediation], list: &ListArgs) -> anyhow::Result<String> {
    if let Some(data) = list.output.data(&List::of(runs))? {
        return Ok(data);
    }
    let table = || table(runs, Timestamp::now(), list.layout());
    Ok(list.lines(runs, "no runs", name, table))
}

/// The name as kubectl prints it.
fn name(run: &Remediation) -> String {
    kubectl_name(ObjectKind::Remediation, &run.name_any())
}

fn table(runs: &[Remediation], now: Timestamp, layout: Layout) -> Vec<String> {
    let rows = runs.iter().map(|run| {
        let status = run.status.clone().unwrap_or_default();
        let created = run.creation_timestamp().map_or(now, |at| at.0);
        vec![
            run.name_any(),
            format!("{:?}", status.phase),
            status.progress.unwrap_or_else(|| "-".to_owned()),
            status.held.to_string(),
            span(created, now),
            plain(&status.message),
        ]
    });
    let columns = [
        Column::Text("NAME"),
        Column::Text("PHASE"),
        Column::Number("DONE"),
        Column::Number("HELD"),
        Column::Number("AGE"),
        Column::Text("MESSAGE"),
    ];
    layout.lines(&columns, rows.collect())
}
