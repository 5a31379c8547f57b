//! `locksmith runs`: lists every Remediation.

use std::process::ExitCode;

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;

use super::args::NamespaceArgs;
use super::table::{Column, lines};
use super::watching::Screen;
use super::{ClusterArgs, remediations};
use crate::api::remediation::Remediation;
use crate::cluster::CALL_TIMEOUT;
use crate::text::humanize::{plain, span};

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
    let namespace = args.only.namespace.as_deref();
    let mut runs = remediations::runs(&client, namespace).await?;
    let mut screen = Screen::new();
    let changes = remediations::changes(&client, namespace);
    tokio::pin!(changes);
    loop {
        screen.show(&args.output.text(&runs)?);
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        screen.pause().await;
        changes.next().await;
        runs = remediations::runs(&client, namespace).await?;
    }
}

impl Output {
    /// The runs in this format.
    fn text(self, runs: &[Remediation]) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => format!("{}\n", serde_json::to_string_pretty(runs)?),
            Self::Yaml => serde_saphyr::to_string(&runs)?,
            Self::Table | Self::Wide if runs.is_empty() => "no runs\n".to_owned(),
            Self::Table => table(runs, Timestamp::now(), false),
            Self::Wide => table(runs, Timestamp::now(), true),
        })
    }
}

fn table(runs: &[Remediation], now: Timestamp, wide: bool) -> String {
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
    let lines = lines(&columns, rows.collect(), wide).into_iter();
    lines.map(|line| line + "\n").collect()
}
