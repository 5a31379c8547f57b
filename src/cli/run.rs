//! `locksmith run`: shows the plan of a playbook, creates the Remediation once it is confirmed, and follows each step.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::ReadArgs;
use super::decide::confirmed;
use super::output::{self, print_line};
use super::plan::{PlanArgs, Planned};
use super::progress::{Printer, REPORT_INTERVAL};
use super::remediations;
use crate::api::remediation::{Approval, Decision, Phase, Remediation, RemediationStatus};
use crate::cluster::{self, FIELD_MANAGER_CLI};
use crate::config::Config;
use crate::run_progress::{self, Line, Tone};
use crate::text::error_chain;

/// A running daemon picks up a Remediation within a second or two.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Run a playbook now: show its plan, ask for confirmation, and follow each step
///
/// Creates a Remediation and watches it; a daemon in mode act runs it once its gates are open. Ctrl-C aborts the run and
/// releases its holds; a second Ctrl-C stops watching. Exits with 0 if the run succeeded or nothing is stuck, 1 if it did not
/// succeed, and 2 if it was not created or was deleted.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    what: PlanArgs,
    /// Namespace of the Remediation [default: remediation.namespace of the configuration]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.read.config()?;
    let client = args.read.client().await?;
    let mut plans = args.what.plans(&args.read, client.clone(), &config).await?;
    let planned = match (plans.pop(), plans.is_empty()) {
        (None, _) => {
            print_line("Nothing is stuck.")?;
            return Ok(ExitCode::SUCCESS);
        }
        (Some(planned), true) => planned,
        (Some(last), false) => {
            let drivers = plans.iter().chain([&last]).map(|planned| &*planned.driver);
            bail!(
                "several drivers have findings; choose one with --driver: {}",
                drivers.collect::<Vec<_>>().join(" or ")
            )
        }
    };
    let columns = output::prose(output::width());
    print_line(planned.text(&config, args.what.details, columns))?;
    if let Some(error) = &planned.error {
        bail!("there is no plan: {error}");
    }
    if !args.yes
        && !confirmed(
            "Run this plan? The daemon runs it only if its own plan is identical and all gates are open.",
        )?
    {
        bail!("cancelled; no run was created");
    }
    // Registered before the run is created, so that no Ctrl-C is missed.
    let interrupts = signal(SignalKind::interrupt())?;
    let run = args.request_run(&client, &config, planned).await?;
    follow(&client, run, interrupts).await
}

impl Args {
    /// Creates the Remediation, with an approval of exactly the plan that was shown.
    async fn request_run(
        &self,
        client: &Client,
        config: &Config,
        planned: Planned,
    ) -> anyhow::Result<Remediation> {
        let name = remediations::name(client).await;
        let mut run = self.what.run(planned.driver, config, name.clone());
        if self.namespace.is_some() {
            run.metadata.namespace.clone_from(&self.namespace);
        }
        // The daemon counts no run of another namespace either.
        let others = remediations::runs(client, run.metadata.namespace.as_deref()).await?;
        if let Some(why) = in_the_way(&others, &run) {
            let driver = &run.spec.driver;
            bail!("{why} for {driver}; check it with locksmith describe");
        }
        run.spec.approval = planned.plan.map(|plan| Approval {
            decision: Decision::Approved,
            plan: plan.hash,
            at: Some(Timestamp::now()),
            by: name,
        });
        Ok(cluster::remediations::create(client, FIELD_MANAGER_CLI, &run).await?)
    }
}

/// The one of `runs` that would keep `run` from starting: one that is running for its driver, as in the gate `oneRun`, or a
/// pending one of its playbook.
fn in_the_way(runs: &[Remediation], run: &Remediation) -> Option<String> {
    let same_driver = |other: &&Remediation| other.spec.driver == run.spec.driver;
    runs.iter().filter(same_driver).find_map(|other| {
        let phase = other.status.as_ref().map(|status| status.phase);
        let name = other.name_any();
        match phase.unwrap_or_default() {
            Phase::Running => Some(format!("{name} is already running")),
            Phase::Pending if other.spec.playbook == run.spec.playbook => {
                Some(format!("{name} is already pending"))
            }
            _ => None,
        }
    })
}

/// Prints the progress until the run has finished. Ctrl-C aborts the run, which is still followed; a second one stops following.
async fn follow(
    client: &Client,
    run: Remediation,
    mut interrupts: Signal,
) -> anyhow::Result<ExitCode> {
    let mut printer = Printer::new();
    printer.line(&Line::plain("run", run.name_any()))?;
    let changes = changes(client, &run);
    tokio::pin!(changes);
    let taken_up = tokio::time::sleep(TAKEN_UP_WITHIN);
    tokio::pin!(taken_up);
    let mut known: Option<RemediationStatus> = None;
    let (mut aborted, mut warned, mut unseen) = (false, false, false);
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    loop {
        let idle = !warned && known.is_none();
        let change = tokio::select! {
            change = changes.next() => change,
            Some(()) = interrupts.recv() => {
                let name = run.name_any();
                if aborted {
                    printer.line(&Line::new("detached", format!("see the result with locksmith describe {name}"), Tone::Ask))?;
                    return Ok(ExitCode::FAILURE);
                }
                aborted = true;
                remediations::abort(client, &run).await.with_context(|| {
                    format!("failed to abort {name}; retry with locksmith abort {name}, or run locksmith release --all")
                })?;
                let text = format!("aborting {name}; its holds are being released");
                printer.line(&Line::new("interrupted", text, Tone::Ask))?;
                continue;
            }
            _ = reports.tick() => {
                printer.report()?;
                continue;
            }
            () = &mut taken_up, if idle => {
                warned = true;
                let text = "no daemon has picked it up; check that one runs in mode plan or act for this namespace";
                printer.line(&Line::new("waiting", text, Tone::Ask))?;
                continue;
            }
        };
        let run = match change {
            Some(Ok(Some(run))) => run,
            Some(Ok(None)) => bail!("{} was deleted", run.name_any()),
            // The watch retries by itself; print the first error only.
            Some(Err(error)) => {
                if !unseen {
                    let text = format!("failed to read the run, retrying: {}", error_chain(&error));
                    printer.line(&Line::new("waiting", text, Tone::Ask))?;
                }
                unseen = true;
                continue;
            }
            None => bail!("the watch of the Remediation ended; check it with locksmith describe"),
        };
        unseen = false;
        if run.status.is_none() {
            continue;
        }
        for line in run_progress::of_run(&run, known.as_ref()) {
            printer.line(&line)?;
        }
        known = run.status;
        printer.set(known.as_ref().and_then(RemediationStatus::current_progress));
        match known.as_ref().map(|status| status.phase) {
            Some(Phase::Succeeded) => return Ok(ExitCode::SUCCESS),
            Some(phase) if phase.finished() => return Ok(ExitCode::FAILURE),
            Some(_) | None => {}
        }
    }
}

/// Yields the run each time it changes, and `None` once it is gone.
fn changes(
    client: &Client,
    run: &Remediation,
) -> impl Stream<Item = Result<Option<Remediation>, watcher::Error>> + use<> {
    let api: Api<Remediation> =
        Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let uid = run.uid();
    let only = watcher::Config::default().fields(&format!("metadata.name={}", run.name_any()));
    let mut listed = false;
    watcher(api, only)
        .default_backoff()
        .filter_map(move |event| {
            let ours = |run: Remediation| (run.uid() == uid).then_some(run);
            let change = match event {
                Ok(Event::Init) => {
                    listed = false;
                    None
                }
                Ok(Event::InitApply(run)) => ours(run).map(|run| {
                    listed = true;
                    Ok(Some(run))
                }),
                Ok(Event::InitDone) => (!listed).then_some(Ok(None)),
                Ok(Event::Apply(run)) => ours(run).map(|run| Ok(Some(run))),
                Ok(Event::Delete(run)) => ours(run).map(|_| Ok(None)),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(change)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::run_in;
    use rstest::rstest;

    #[rstest]
    #[case::none_at_all(None, "csi-operation-locks", None)]
    #[case::one_at_work(
        Some(Phase::Running),
        "failed-snapshots",
        Some("night is already running")
    )]
    #[case::one_of_it_that_waits(
        Some(Phase::Pending),
        "csi-operation-locks",
        Some("night is already pending")
    )]
    #[case::another_that_waits_for_a_person(Some(Phase::Pending), "orphaned-sources", None)]
    #[case::one_that_is_over(Some(Phase::Succeeded), "csi-operation-locks", None)]
    fn run_is_refused_only_if_the_daemon_would_queue_it(
        #[case] phase: Option<Phase>,
        #[case] playbook: &str,
        #[case] why: Option<&str>,
    ) {
        let mut asked = run_in("asked", Phase::Pending);
        asked.spec.playbook = "csi-operation-locks".to_owned();
        let others = phase.map(|phase| {
            let mut other = run_in("night", phase);
            other.spec.playbook = playbook.to_owned();
            other
        });
        let others: Vec<_> = others.into_iter().collect();
        assert_eq!(in_the_way(&others, &asked).as_deref(), why);
    }
}
