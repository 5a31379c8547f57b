//! `locksmith approve`, `reject` and `abort`: a person's word on a run.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::plan_text::plan_text;
use super::{ClusterArgs, person};
use crate::api::remediation::{Decision, Remediation};
use crate::kube_io::CALL_TIMEOUT;
use crate::plan::Plan;

/// The run that is meant.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the Remediation
    name: String,
    /// Its namespace; needed only where several have one of that name
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Approves of the plan as it is shown, and of no other.
pub async fn approve(args: Args) -> anyhow::Result<ExitCode> {
    decide(args, Decision::Approved).await
}

/// Rejects the plan: the run ends, and nothing is done.
pub async fn reject(args: Args) -> anyhow::Result<ExitCode> {
    decide(args, Decision::Rejected).await
}

async fn decide(args: Args, decision: Decision) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let run = person::run_named(&client, args.namespace.as_deref(), &args.name).await?;
    let plan = unfinished(&run)?;
    anstream::println!("{}", plan_text(plan));
    let verb = match decision {
        Decision::Approved => "approve of",
        Decision::Rejected => "reject",
    };
    if !args.yes && !confirmed(&format!("{verb} plan {}?", plan.hash))? {
        bail!("nothing was decided");
    }
    let approval = json!({
        "decision": decision,
        "plan": plan.hash,
        "by": person::name(&client).await,
        "at": Timestamp::now(),
    });
    person::change(&client, &run, json!({ "spec": { "approval": approval } })).await?;
    let done = match decision {
        Decision::Approved => "approved of",
        Decision::Rejected => "rejected",
    };
    anstream::println!("{done} plan {} of {}", plan.hash, run.name_any());
    Ok(ExitCode::SUCCESS)
}

/// Ends a run: what it holds is released, nothing else is done.
pub async fn abort(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client(CALL_TIMEOUT).await?;
    let run = person::run_named(&client, args.namespace.as_deref(), &args.name).await?;
    let status = run.status.as_ref();
    if status.is_some_and(|status| status.phase.finished()) {
        bail!("{} is over already", run.name_any());
    }
    if !args.yes && !confirmed(&format!("abort {}?", run.name_any()))? {
        bail!("nothing was aborted");
    }
    person::change(&client, &run, json!({ "spec": { "abort": true } })).await?;
    anstream::println!("{} ends; what it holds is released", run.name_any());
    Ok(ExitCode::SUCCESS)
}

fn unfinished(run: &Remediation) -> anyhow::Result<&Plan> {
    let name = run.name_any();
    let status = run
        .status
        .as_ref()
        .with_context(|| format!("{name} has not been looked at yet"))?;
    if status.phase.finished() {
        bail!("{name} is over: {}", status.message);
    }
    status
        .plan
        .as_ref()
        .with_context(|| format!("{name} has no plan yet: {}", status.message))
}

/// Asks at a terminal. Elsewhere nobody can answer, and --yes has to be said.
pub fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{question} There is no terminal to ask at: say --yes");
    }
    anstream::eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
