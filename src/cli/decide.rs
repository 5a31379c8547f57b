//! `locksmith approve`, `reject` and `abort`: decisions of a person on a run.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::args::RunArgs;
use super::output::print_line;
use super::remediations;
use super::render_plan::plan_text;
use crate::api::Plan;
use crate::api::remediation::{Decision, GateRecord, Phase, Remediation};
use crate::gates::GateName;
use crate::text::humanize::plain;

/// Selects a run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

/// Approves the plan that is printed, by its hash.
pub async fn approve(args: Args) -> anyhow::Result<ExitCode> {
    decide(args, Decision::Approved).await
}

/// Rejects the plan, which ends the run before it starts.
pub async fn reject(args: Args) -> anyhow::Result<ExitCode> {
    decide(args, Decision::Rejected).await
}

async fn decide(args: Args, decision: Decision) -> anyhow::Result<ExitCode> {
    let (client, run) = args.run.read().await?;
    let plan = undecided(&run, decision)?;
    print_line(plan_text(plan))?;
    let verb = match decision {
        Decision::Approved => "approve",
        Decision::Rejected => "reject",
    };
    if !args.yes && !confirmed(&format!("{verb} plan {}?", plan.hash))? {
        bail!("cancelled; nothing was decided");
    }
    // The plan may have changed while the prompt was open.
    let live =
        remediations::run_named(&client, run.namespace().as_deref(), &run.name_any()).await?;
    if undecided(&live, decision)?.hash != plan.hash {
        bail!(
            "the plan of {0} has changed; review it with locksmith describe {0}, then decide again",
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
        Decision::Approved => "approved",
        Decision::Rejected => "rejected",
    };
    print_line(format_args!(
        "{done} plan {0} of {1}; check it with locksmith describe {1}",
        plan.hash,
        run.name_any()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Aborts a run, which releases its holds.
pub async fn abort(args: Args) -> anyhow::Result<ExitCode> {
    let (client, run) = args.run.read().await?;
    let status = run.status.as_ref();
    if status.is_some_and(|status| status.phase.finished()) {
        bail!("{} has already finished", run.name_any());
    }
    if !args.yes && !confirmed(&format!("abort {}?", run.name_any()))? {
        bail!("cancelled; nothing was aborted");
    }
    remediations::abort(&client, &run).await?;
    print_line(format_args!(
        "aborting {0}; its holds are being released; check with locksmith describe {0}",
        run.name_any()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The plan to decide on; an error if the decision would have no effect.
fn undecided(run: &Remediation, decision: Decision) -> anyhow::Result<&Plan> {
    let name = run.name_any();
    let status = run
        .status
        .as_ref()
        .with_context(|| format!("no daemon has picked up {name} yet; check that one runs in mode plan or act: kubectl get pods -A | grep locksmith"))?;
    let asks = |gate: &GateRecord| GateName::Approval.is_of(gate) && !gate.open;
    let asks = status.gates.iter().any(asks);
    match status.phase {
        Phase::Pending => {}
        // It waits to start another attempt.
        Phase::Running if asks => {}
        Phase::Running => {
            bail!("{name} has already started; end it with locksmith abort {name}");
        }
        Phase::Planned
        | Phase::Succeeded
        | Phase::NothingToDo
        | Phase::Failed
        | Phase::Aborted
        | Phase::Expired => {
            bail!("{name} has finished: {}", plain(&status.message));
        }
    }
    let plan = status.plan.as_ref();
    let plan =
        plan.with_context(|| format!("{name} has no plan yet: {}", plain(&status.message)))?;
    if decision == Decision::Approved && !asks {
        bail!(
            "{name} is not waiting for approval: {}",
            plain(&status.message)
        );
    }
    Ok(plan)
}

/// Prompts at a terminal; without one, returns an error that names `--yes`.
pub fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("cannot prompt without a terminal (\"{question}\"); pass --yes");
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
        Some("is not waiting for approval")
    )]
    #[case::of_the_next_round(Phase::Running, false, Decision::Approved, None)]
    #[case(
        Phase::Running,
        true,
        Decision::Rejected,
        Some("end it with locksmith abort night")
    )]
    #[case(Phase::Running, true, Decision::Approved, Some("has already started"))]
    #[case(Phase::Succeeded, true, Decision::Rejected, Some("has finished"))]
    fn decision_without_effect_is_refused(
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
