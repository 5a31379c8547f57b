//! `locksmith explain`: why one object is stuck, and the plan of a run that would repair it. Writes nothing.

mod explanation;
mod subject;
#[cfg(test)]
mod tests;
mod text;

use std::process::ExitCode;

use anyhow::{Error, bail};
use jiff::Timestamp;

use super::args::ReadArgs;
use super::output::ResultArgs;
use super::plan::{PlanArgs, unseen};
use explanation::{Explanation, playbook_for};
use subject::Subject;

/// Explain one object: the lock it waits for, since when, and the run that would repair it
///
/// Reads the cluster once and changes nothing. Exits with 0 if the object is not stuck, 1 if it is, and 2 if it does not exist
/// or not everything could be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    read: ReadArgs,
    /// Object to explain: pvc/NAME, vs/NAME, source/NAME, or lock/ and a part of its key
    #[arg(value_name = "KIND/NAME")]
    subject: Subject,
    /// Namespace of the object [default: that of the kubeconfig context]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    result: ResultArgs,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.read.config()?;
    let client = args.read.client().await?;
    let namespace = args
        .namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let seen = args.read.look(client, &config).await?;
    let now = Timestamp::now();
    let subject = args.subject.resolved(&seen.view).map_err(Error::msg)?;
    let explained = seen
        .store
        .read(|model| Explanation::of(model, &seen.view, &subject, &namespace, &config, now));
    let Some(mut explanation) = explained else {
        let unseen = unseen(&seen.view);
        let subject = subject.in_namespace(&namespace);
        if unseen.is_empty() {
            bail!("there is no {subject}");
        }
        bail!("{subject} was not found, but not everything could be read: {unseen}");
    };
    if let Some((name, playbook, driver)) = playbook_for(&explanation, &config) {
        let what = PlanArgs {
            playbook: name.clone(),
            driver: None,
            details: false,
        };
        let findings = &seen.view.findings;
        let planned = seen
            .store
            .read(|model| what.planned(model, findings, playbook, driver, &config, now));
        explanation.add_run(planned, &seen.view);
    }
    args.result
        .print(&explanation, || text::render(&explanation, now))?;
    Ok(ExitCode::from(explanation.exit_code()))
}
