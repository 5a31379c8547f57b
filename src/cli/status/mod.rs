//! `locksmith status`: reads a cluster once and reports what is stuck. Needs no daemon, and writes nothing.

mod render;
#[cfg(test)]
mod tests;

use render::{Look, doubts_text, render};

use std::collections::BTreeSet;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use futures::Stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::watch;

use super::FAILED;
use super::args::{NamespaceArgs, ReadArgs};
use super::output::{self, ListArgs, OutputFormat};
use super::table::Layout;
use super::watching::Screen;
use crate::config::Config;
use crate::state::view::View;
use crate::text::humanize;

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
    #[command(flatten)]
    list: ListArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.read.config()?;
    let client = args.read.client().await?;
    let namespace = args.only.namespace();
    if let Some(namespace) = namespace {
        exists(&client, namespace).await?;
    }
    let seen = args.read.look(client, &config).await?;
    let view = only(seen.view.clone(), namespace);
    let mut screen = Screen::new(args.watch);
    let mut warned = String::new();
    let young = || young(seen.young_claims(namespace), &config);
    screen.show(&text(&view, &args.list, &young())?)?;
    warn(&view, &args.list, &mut warned);
    if !args.watch {
        return Ok(ExitCode::from(exit_code(&view)));
    }
    let mut changes = pin!(changes(seen.store.views()));
    while screen.latest(&mut changes).await.is_some() {
        // The published view does not know which claims could not be looked up.
        let view = only(seen.latest(), namespace);
        screen.show(&text(&view, &args.list, &young())?)?;
        warn(&view, &args.list, &mut warned);
    }
    bail!("the watch of the cluster ended")
}

/// Yields after each new view, also one published before.
fn changes(views: watch::Receiver<Arc<View>>) -> impl Stream<Item = ()> {
    futures::stream::unfold(views, async |mut views| {
        views.changed().await.ok()?;
        Some(((), views))
    })
}

/// A line about claims that are Pending, but not yet for as long as a finding.
fn young(claims: usize, config: &Config) -> String {
    let verb = match claims {
        0 => return String::new(),
        1 => "is",
        _ => "are",
    };
    let claims = humanize::count(claims, "claim");
    let after = config.detect.pending_after;
    format!("{claims} {verb} Pending, which counts as stuck after {after} (detect.pendingAfter).\n")
}

/// The view in the chosen format; `young` is added if nothing is stuck.
fn text(view: &View, list: &ListArgs, young: &str) -> anyhow::Result<String> {
    if let Some(data) = list.output.data(view)? {
        return Ok(data);
    }
    if list.output == OutputFormat::Name {
        return Ok(names(view).into_iter().map(|name| name + "\n").collect());
    }
    let look = look(list, output::has_colour());
    let text = render(view, Timestamp::now(), look);
    let is_shown = look.headers && view.stuck().next().is_none();
    Ok(text + if is_shown { young } else { "" })
}

fn look(list: &ListArgs, colour: bool) -> Look {
    let Layout { width, headers } = list.layout();
    Look {
        wide: list.output == OutputFormat::Wide,
        width,
        headers,
        colour,
    }
}

/// Prints to stderr what could not be read, if the output has no room for it, unless it is what `warned` has.
fn warn(view: &View, list: &ListArgs, warned: &mut String) {
    let doubts = doubts_beside(view, list);
    if !doubts.is_empty() && doubts != *warned {
        anstream::eprintln!("{doubts}");
    }
    *warned = doubts;
}

/// The doubts of a view, where only rows or names are printed. JSON and YAML have them themselves.
fn doubts_beside(view: &View, list: &ListArgs) -> String {
    let rows_only =
        list.no_headers && matches!(list.output, OutputFormat::Text | OutputFormat::Wide);
    if rows_only || list.output == OutputFormat::Name {
        doubts_text(view, look(list, false))
    } else {
        String::new()
    }
}

/// The stuck objects as kubectl and `locksmith explain` name them, each once.
fn names(view: &View) -> BTreeSet<String> {
    let objects = view.stuck().filter_map(|finding| finding.object.as_ref());
    objects
        .map(|object| humanize::kubectl_name(object.kind, &object.name))
        .collect()
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

/// Limits `view` to `namespace`. Remediations stay: they concern a driver, in whichever namespace they are. So do holds of classes,
/// which concern every namespace.
fn only(mut view: View, namespace: Option<&str>) -> View {
    if let Some(namespace) = namespace {
        let there = |object: &crate::api::ObjectKey| *object.namespace == *namespace;
        view.findings
            .retain(|finding| finding.object.as_ref().is_some_and(there));
        view.holds
            .retain(|hold| there(&hold.object) || hold.object.namespace.is_empty());
    }
    view
}
