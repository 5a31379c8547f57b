//! `locksmith runs`: lists every Remediation.

use std::process::ExitCode;

use jiff::Timestamp;
use kube::ResourceExt;

use super::args::NamespaceArgs;
use super::table::{Column, lines};
use super::{ClusterArgs, remediations};
use crate::cluster::CALL_TIMEOUT;
use crate::text::humanize::{plain, span};

/// List all runs, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    only: NamespaceArgs,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// At most 80 columns
    #[default]
    Table,
    /// As wide as needed
    Wide,
    /// The Remediations as JSON
    Json,
    /// The Remediations as YAML
    Yaml,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let runs = remediations::runs(&client, args.only.namespace.as_deref()).await?;
    if matches!(args.output, Output::Json) {
        anstream::println!("{}", serde_json::to_string_pretty(&runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    if matches!(args.output, Output::Yaml) {
        anstream::print!("{}", serde_saphyr::to_string(&runs)?);
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        anstream::println!("no runs");
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let rows = runs.iter().map(|run| {
        let status = run.status.clone().unwrap_or_default();
        let created = run.creation_timestamp().map_or(now, |at| at.0);
        vec![
            run.name_any(),
            format!("{:?}", status.phase),
            status.held.to_string(),
            span(created, now),
            plain(&status.message),
        ]
    });
    let columns = [
        Column::Text("NAME"),
        Column::Text("PHASE"),
        Column::Number("HELD"),
        Column::Number("AGE"),
        Column::Text("MESSAGE"),
    ];
    for line in lines(
        &columns,
        rows.collect(),
        matches!(args.output, Output::Wide),
    ) {
        anstream::println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
