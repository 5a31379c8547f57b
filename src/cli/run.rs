//! `locksmith run`: a person asks for a playbook, checks its plan, and sees each step.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::decide::confirmed;
use super::log::{self, LogFormat};
use super::make_plan::{Planned, What};
use super::progress::print;
use super::{ClusterArgs, person};
use crate::api::remediation::{Approval, Decision, Phase, Remediation, RemediationStatus};
use crate::kube_io::FIELD_MANAGER;
use crate::narrative::{self, Line, Tone};

/// A daemon that runs takes a run up within a second or two.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Run a playbook now: shows its plan, asks, and follows each step
///
/// A daemon in mode act carries it out, behind its gates; this command asks it to and watches. Ctrl-C ends the run: what it
/// holds is released. Exits with 0 when it succeeded, with 1 when it failed or was aborted, and with 2 when it could not be
/// asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    what: What,
    /// Namespace of the Remediation, as the daemon has it
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    log::start(LogFormat::Pretty, "off");
    let client = args.cluster.client(args.what.timeout).await?;
    let mut plans = args.what.plans(client.clone()).await?;
    let planned = match (plans.pop(), plans.is_empty()) {
        (None, _) => {
            anstream::println!("nothing is stuck of any driver; nothing is to be done");
            return Ok(ExitCode::SUCCESS);
        }
        (Some(planned), true) => planned,
        (Some(_), false) => bail!("several drivers have something stuck: say which with --driver"),
    };
    anstream::println!("{}", planned.text());
    if let Some(error) = &planned.error {
        bail!("there is no plan: {error}");
    }
    if !args.yes && !confirmed("run this? The daemon plans anew, and asks its gates")? {
        bail!("nothing was asked for");
    }
    let run = args.ask(&client, planned).await?;
    follow(&client, run).await
}

impl Args {
    /// Makes the Remediation. Whoever asks for a run approves of the plan they were shown, and of no other.
    async fn ask(&self, client: &Client, planned: Planned) -> anyhow::Result<Remediation> {
        let at_work = person::runs(client, None).await?.into_iter().find(|run| {
            let over = run.status.as_ref().is_some_and(|it| it.phase.finished());
            !over && run.spec.driver == planned.driver
        });
        if let Some(run) = at_work {
            bail!(
                "{} is at work on {} already",
                run.name_any(),
                planned.driver
            );
        }
        let name = person::name(client).await;
        let config = self.what.config()?;
        let mut run = self.what.run(planned.driver, &config, name.clone());
        run.spec.approval = planned.plan.map(|plan| Approval {
            decision: Decision::Approved,
            plan: plan.hash,
            at: Some(Timestamp::now()),
            by: name,
        });
        if self.namespace.is_some() {
            run.metadata.namespace.clone_from(&self.namespace);
        }
        let api: Api<Remediation> =
            Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
        let params = PostParams {
            field_manager: Some(format!("{FIELD_MANAGER}-cli")),
            ..PostParams::default()
        };
        api.create(&params, &run)
            .await
            .context("failed to make a Remediation: is the CRD installed (locksmith crd)?")
    }
}

/// Tells what happens until the run is over; Ctrl-C ends it, and is followed to its end too.
async fn follow(client: &Client, run: Remediation) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    print(begun.elapsed(), &Line::plain("run", run.name_any()));
    let changes = changes(client, &run);
    tokio::pin!(changes);
    let mut known: Option<RemediationStatus> = None;
    let (mut aborted, mut warned) = (false, false);
    loop {
        let idle = !warned && known.is_none();
        let change = tokio::select! {
            change = changes.try_next() => change,
            interrupted = tokio::signal::ctrl_c(), if !aborted => {
                interrupted?;
                aborted = true;
                abort(client, &run, begun).await?;
                continue;
            }
            () = tokio::time::sleep(TAKEN_UP_WITHIN), if idle => {
                warned = true;
                let text = "no daemon has taken it up: is one running in mode plan or act, for this namespace?";
                print(begun.elapsed(), &Line::new("waiting", text, Tone::Ask));
                continue;
            }
        };
        // An error is told by the watch, and taken up again.
        let Ok(Some(run)) = change else {
            if matches!(change, Ok(None)) {
                bail!("the Remediation cannot be watched any more");
            }
            continue;
        };
        for line in narrative::of_run(&run, known.as_ref()) {
            print(begun.elapsed(), &line);
        }
        known = run.status.or(known);
        let phase = known.as_ref().map(|status| status.phase);
        match phase {
            Some(Phase::Succeeded | Phase::Planned) => return Ok(ExitCode::SUCCESS),
            Some(Phase::Failed | Phase::Aborted) => return Ok(ExitCode::FAILURE),
            Some(Phase::Pending | Phase::Running) | None => {}
        }
    }
}

fn changes(
    client: &Client,
    run: &Remediation,
) -> impl Stream<Item = Result<Remediation, watcher::Error>> + use<> {
    let api: Api<Remediation> =
        Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let only = watcher::Config::default().fields(&format!("metadata.name={}", run.name_any()));
    watcher(api, only)
        .default_backoff()
        .applied_objects()
        .skip_while(|first| {
            let unseen = matches!(first, Ok(run) if run.status.is_none());
            std::future::ready(unseen)
        })
}

async fn abort(client: &Client, run: &Remediation, begun: Instant) -> anyhow::Result<()> {
    let name = run.name_any();
    let live = person::run_named(client, run.namespace().as_deref(), &name).await?;
    person::change(client, &live, json!({ "spec": { "abort": true } })).await?;
    let text = format!("{name} ends; what it holds is released");
    print(begun.elapsed(), &Line::new("interrupted", text, Tone::Ask));
    Ok(())
}
