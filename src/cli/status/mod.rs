//! `locksmith status`: reads a cluster once and reports as text or JSON. Needs no daemon, and writes nothing.

mod render;
#[cfg(test)]
mod tests;

pub use render::{Look, render};

use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use super::FAILED;
use super::args::{NamespaceArgs, ReadArgs};
use super::log::{self, LogFormat};
use super::watching::Screen;
use crate::state::view::View;

/// Show everything that is stuck: why, since when, and how much storage
///
/// Reads the cluster once, with any kubeconfig, and changes nothing. Exits with 0 if nothing is stuck, 1 if something is, and 2
/// if nothing stuck was found but not everything could be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    read: ReadArgs,
    /// Keep watching: show again what has changed, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    only: NamespaceArgs,
    /// Output format; wide adds driver, class, cause and evidence
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
    /// JSON, as served at /api/v1/status
    Json,
    /// The same as YAML
    Yaml,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log::start(LogFormat::Pretty, "off");
    let config = args.read.config()?;
    let client = args.read.client().await?;
    if let Some(namespace) = &args.only.namespace {
        exists(&client, namespace).await?;
    }
    let seen = args.read.look(client, &config).await?;
    let (mut screen, mut views) = (Screen::new(), seen.store.views());
    let mut view = only(seen.view.clone(), args.only.namespace.as_deref());
    loop {
        screen.show(&args.output.text(&view)?);
        if !args.watch {
            return Ok(ExitCode::from(exit_code(&view)));
        }
        screen.pause().await;
        views.changed().await?;
        // The published view does not know which claims could not be looked up.
        view = only(seen.latest(), args.only.namespace.as_deref());
    }
}

impl Output {
    /// The view in this format.
    fn text(self, view: &View) -> anyhow::Result<String> {
        let colour =
            anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        let text = |look| render(view, Timestamp::now(), look, colour);
        Ok(match self {
            Self::Table => text(Look::Table),
            Self::Wide => text(Look::Wide),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(view)?),
            Self::Yaml => serde_saphyr::to_string(view)?,
        })
    }
}

/// 1 if something is stuck, else 2 if not everything was read or there is a doubt, else 0.
pub fn exit_code(view: &View) -> u8 {
    match (view.stuck().next(), view.is_certain()) {
        (Some(_), _) => 1,
        (None, false) => FAILED,
        (None, true) => 0,
    }
}

/// Returns an error for a namespace that does not exist, instead of "Nothing is stuck.". Without the right to read namespaces,
/// the name is accepted.
async fn exists(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get_metadata_opt(namespace).await {
        Ok(None) => bail!("there is no namespace {namespace}"),
        Ok(Some(_)) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Limits `view` to `namespace`. Remediations stay: they concern a driver, in whichever namespace they are.
fn only(mut view: View, namespace: Option<&str>) -> View {
    if let Some(namespace) = namespace {
        let there = |object: &crate::api::ObjectKey| *object.namespace == *namespace;
        view.findings
            .retain(|finding| finding.object.as_ref().is_some_and(there));
        view.holds.retain(|hold| there(&hold.object));
    }
    view
}
