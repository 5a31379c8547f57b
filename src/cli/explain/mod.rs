//! `locksmith explain`: one object, why it is stuck, and how a run would change that. Writes nothing.

mod explanation;
mod subject;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;

use super::plan::{PlanArgs, unseen};
use super::{ClusterArgs, log};
use crate::config::{self, Config};
use crate::watch;
use explanation::{Explanation, playbook_for};
use subject::Subject;

/// Explain one object: what it waits for, since when, and how a run would change that
///
/// Looks once and changes nothing. Exits with 0 when the object is not stuck, with 1 when it is, and with 2 when there is no such
/// object or not everything could be looked at.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// pvc/NAME, vs/NAME, source/NAME or lock/KEY
    #[arg(value_name = "KIND/NAME")]
    subject: Subject,
    /// Its namespace; else that of the kubeconfig's context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
    /// The daemon's configuration; without one, the defaults of deploy/locksmith.yaml
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// How long to look for at most
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// A tree and a few lines
    #[default]
    Text,
    /// Everything, with whole findings
    Json,
    /// The same
    Yaml,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log::start(log::LogFormat::Pretty, "off");
    let config = match &args.config {
        Some(path) => config::load(path)?,
        None => Config::default(),
    };
    let client = args.cluster.client(args.timeout).await?;
    let namespace = args
        .namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let seen = watch::look(client, &config, args.timeout).await?;
    let now = Timestamp::now();
    let explained = seen
        .store
        .read(|model| Explanation::of(model, &seen.view, &args.subject, &namespace, &config, now));
    let Some(mut explanation) = explained else {
        let unseen = unseen(&seen.view);
        let subject = args.subject.in_namespace(&namespace);
        if unseen.is_empty() {
            bail!("there is no {subject}");
        }
        bail!("{subject} was not seen, and not everything could be looked at: {unseen}");
    };
    if let Some((name, playbook, driver)) = playbook_for(&explanation, &config) {
        let what = PlanArgs {
            playbook: name.clone(),
            driver: None,
            config: args.config,
            timeout: args.timeout,
        };
        let findings = &seen.view.findings;
        let planned = seen
            .store
            .read(|model| what.planned(model, findings, playbook, driver, &config, now));
        explanation.add_run(planned, &seen.view);
    }
    match args.output {
        Output::Json => anstream::println!("{}", serde_json::to_string_pretty(&explanation)?),
        Output::Yaml => anstream::print!("{}", serde_saphyr::to_string(&explanation)?),
        Output::Text => anstream::print!("{}", text::render(&explanation, now)),
    }
    Ok(ExitCode::from(explanation.exit_code()))
}
