//! `locksmith approve`, `reject` and `abort`: a person's word on a run.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::render_plan::plan_text;
use super::{ClusterArgs, remediations};
use crate::api::Plan;
use crate::api::remediation::{Decision, GateRecord, Phase, Remediation};
use crate::cluster::CALL_TIMEOUT;
use crate::gates::GateName;
use crate::text::humanize::plain;

/// The run that is meant.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the Remediation; its start is enough, where no other begins so
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
    let run = remediations::run_named(&client, args.namespace.as_deref(), &args.name).await?;
    let plan = undecided(&run, decision)?;
    anstream::println!("{}", plan_text(plan));
    let verb = match decision {
        Decision::Approved => "approve of",
        Decision::Rejected => "reject",
    };
    if !args.yes && !confirmed(&format!("{verb} plan {}?", plan.hash))? {
        bail!("nothing was decided");
    }
    // A person takes their time.
    let live =
        remediations::run_named(&client, run.namespace().as_deref(), &run.name_any()).await?;
    if undecided(&live, decision)?.hash != plan.hash {
        bail!(
            "{} has another plan by now: look again, then decide again",
            run.name_any()
        );
    }
    let approval = json!({
        "decision": decision,
        "plan": plan.hash,
        "by": remediations::name(&client).await,
        "at": Timestamp::now(),
    });
    remediations::change(&client, &run, json!({ "spec": { "approval": approval } })).await?;
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
    let run = remediations::run_named(&client, args.namespace.as_deref(), &args.name).await?;
    let status = run.status.as_ref();
    if status.is_some_and(|status| status.phase.finished()) {
        bail!("{} is over already", run.name_any());
    }
    if !args.yes && !confirmed(&format!("abort {}?", run.name_any()))? {
        bail!("nothing was aborted");
    }
    remediations::abort(&client, &run).await?;
    anstream::println!("{} ends; what it holds is released", run.name_any());
    Ok(ExitCode::SUCCESS)
}

/// The plan, where something comes of the decision.
fn undecided(run: &Remediation, decision: Decision) -> anyhow::Result<&Plan> {
    let name = run.name_any();
    let status = run
        .status
        .as_ref()
        .with_context(|| format!("{name} has not been looked at yet"))?;
    let asks = |gate: &GateRecord| GateName::Approval.is_of(gate) && !gate.open;
    let asks = status.gates.iter().any(asks);
    match status.phase {
        Phase::Pending => {}
        // It waits to go round again.
        Phase::Running if asks => {}
        Phase::Running => {
            bail!("{name} has begun already; locksmith abort {name} ends it");
        }
        Phase::Planned
        | Phase::Succeeded
        | Phase::NothingToDo
        | Phase::Failed
        | Phase::Aborted
        | Phase::Expired => {
            bail!("{name} is over: {}", plain(&status.message));
        }
    }
    let plan = status.plan.as_ref();
    let plan =
        plan.with_context(|| format!("{name} has no plan yet: {}", plain(&status.message)))?;
    if decision == Decision::Approved && !asks {
        bail!("{name} waits for no approval: {}", plain(&status.message));
    }
    Ok(plan)
}

/// Asks at a terminal. Elsewhere nobody can answer, and --yes has to be said.
pub fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask at, \"{question}\": say --yes");
    }
    anstream::eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{DRIVER, at, run_in};
    use rstest::rstest;

    #[rstest]
    #[case(Phase::Pending, false, Decision::Approved, None)]
    #[case(Phase::Pending, false, Decision::Rejected, None)]
    #[case(Phase::Pending, true, Decision::Rejected, None)]
    #[case(
        Phase::Pending,
        true,
        Decision::Approved,
        Some("waits for no approval")
    )]
    #[case::of_the_next_round(Phase::Running, false, Decision::Approved, None)]
    #[case(
        Phase::Running,
        true,
        Decision::Rejected,
        Some("locksmith abort night ends it")
    )]
    #[case(Phase::Running, true, Decision::Approved, Some("has begun already"))]
    #[case(Phase::Succeeded, true, Decision::Rejected, Some("is over"))]
    fn a_decision_of_which_nothing_would_come_is_refused(
        #[case] phase: Phase,
        #[case] open: bool,
        #[case] decision: Decision,
        #[case] refused: Option<&str>,
    ) {
        let mut run = run_in("night", phase);
        let status = run.status.as_mut().unwrap();
        status.plan = Some(Plan::new(DRIVER.into(), Vec::new(), at(0)));
        status.gates = vec![GateRecord {
            gate: GateName::Approval.as_str().to_owned(),
            open,
            reason: String::new(),
            opens_when: String::new(),
        }];
        let said = undecided(&run, decision).err().map(|why| why.to_string());
        match refused {
            None => assert_eq!(said, None),
            Some(why) => assert!(said.as_ref().is_some_and(|it| it.contains(why)), "{said:?}"),
        }
    }
}
