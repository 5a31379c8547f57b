//! `locksmith explain`: why one object is stuck, and the plan of a run that would repair it. Writes nothing.

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

/// Explain one object: the lock it waits for, since when, and the run that would repair it
///
/// Reads the cluster once and changes nothing. Exits with 0 if the object is not stuck, 1 if it is, and 2 if it does not exist
/// or not everything could be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Object to explain: pvc/NAME, vs/NAME, source/NAME or lock/KEY
    #[arg(value_name = "KIND/NAME")]
    subject: Subject,
    /// Namespace of the object [default: that of the kubeconfig context]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
    /// Configuration of the daemon [default: the values in deploy/locksmith.yaml]
    #[arg(long, value_name = "FILE", env = "LOCKSMITH_CONFIG")]
    config: Option<PathBuf>,
    /// Time limit for reading the cluster
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// Tree and summary
    #[default]
    Text,
    /// JSON, with complete findings
    Json,
    /// The same as YAML
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
        bail!("{subject} was not found, but not everything could be read: {unseen}");
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
