//! `locksmith run`: a person asks for a playbook, checks its plan, and sees each step.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::decide::confirmed;
use super::log::{self, LogFormat};
use super::plan::{PlanArgs, Planned};
use super::progress::print;
use super::{ClusterArgs, remediations};
use crate::api::remediation::{Approval, Decision, Phase, Remediation, RemediationStatus};
use crate::cluster::{self, FIELD_MANAGER_CLI};
use crate::run_progress::{self, Line, Tone};
use crate::text::error_chain;

/// A daemon that runs takes a run up within a second or two.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Run a playbook now: shows its plan, asks, and follows each step
///
/// A daemon in mode act carries it out, behind its gates; this command asks it to and watches. Ctrl-C ends the run: what it
/// holds is released; a second one stops watching. Exits with 0 when it succeeded, with 1 when it failed, was aborted or only
/// planned, and with 2 when it could not be asked for.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    what: PlanArgs,
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
        (Some(last), false) => {
            let drivers = plans.iter().chain([&last]).map(|planned| &*planned.driver);
            bail!(
                "several drivers have something stuck: say which with --driver, {}",
                drivers.collect::<Vec<_>>().join(" or ")
            )
        }
    };
    anstream::println!("{}", planned.text());
    if let Some(error) = &planned.error {
        bail!("there is no plan: {error}");
    }
    if !args.yes
        && !confirmed(
            "run this? The daemon plans anew, does this and nothing else, and asks its gates",
        )?
    {
        bail!("nothing was asked for");
    }
    // Listened for before there is anything to end, so that none is missed.
    let interrupts = signal(SignalKind::interrupt())?;
    let run = args.ask(&client, planned).await?;
    follow(&client, run, interrupts).await
}

impl Args {
    /// Makes the Remediation. Whoever asks for a run approves of the plan they were shown, and of no other.
    async fn ask(&self, client: &Client, planned: Planned) -> anyhow::Result<Remediation> {
        let name = remediations::name(client).await;
        let config = self.what.config()?;
        let mut run = self.what.run(planned.driver, &config, name.clone());
        if let Some(why) = in_the_way(&remediations::runs(client, None).await?, &run) {
            let driver = &run.spec.driver;
            bail!("{why} on {driver} already: locksmith describe tells how far it is");
        }
        run.spec.approval = planned.plan.map(|plan| Approval {
            decision: Decision::Approved,
            plan: plan.hash,
            at: Some(Timestamp::now()),
            by: name,
        });
        if self.namespace.is_some() {
            run.metadata.namespace.clone_from(&self.namespace);
        }
        Ok(cluster::remediations::create(client, FIELD_MANAGER_CLI, &run).await?)
    }
}

/// Which of `runs` keeps `run` from its work: one that is at work on its driver, as the gate `oneRun` has it, or one of
/// its playbook that waits to be.
fn in_the_way(runs: &[Remediation], run: &Remediation) -> Option<String> {
    let same_driver = |other: &&Remediation| other.spec.driver == run.spec.driver;
    runs.iter().filter(same_driver).find_map(|other| {
        let phase = other.status.as_ref().map(|status| status.phase);
        let name = other.name_any();
        match phase.unwrap_or_default() {
            Phase::Running => Some(format!("{name} is at work")),
            Phase::Pending if other.spec.playbook == run.spec.playbook => {
                Some(format!("{name} waits"))
            }
            _ => None,
        }
    })
}

/// Tells what happens until the run is over; Ctrl-C ends it, and is followed to its end too. A second one stops following.
async fn follow(
    client: &Client,
    run: Remediation,
    mut interrupts: Signal,
) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let tell = |line: &Line| print(begun.elapsed(), line);
    tell(&Line::plain("run", run.name_any()));
    let changes = changes(client, &run);
    tokio::pin!(changes);
    let mut known: Option<RemediationStatus> = None;
    let (mut aborted, mut warned, mut unseen) = (false, false, false);
    loop {
        let idle = !warned && known.is_none();
        let change = tokio::select! {
            change = changes.next() => change,
            Some(()) = interrupts.recv() => {
                let name = run.name_any();
                if aborted {
                    tell(&Line::new("left", format!("locksmith describe {name} tells how it ends"), Tone::Ask));
                    return Ok(ExitCode::FAILURE);
                }
                aborted = true;
                remediations::abort(client, &run).await.with_context(|| {
                    format!("{name} goes on: say locksmith abort {name}, or locksmith release --all")
                })?;
                let text = format!("{name} ends; what it holds is released");
                tell(&Line::new("interrupted", text, Tone::Ask));
                continue;
            }
            () = tokio::time::sleep(TAKEN_UP_WITHIN), if idle => {
                warned = true;
                let text = "no daemon has taken it up: is one running in mode plan or act, for this namespace?";
                tell(&Line::new("waiting", text, Tone::Ask));
                continue;
            }
        };
        let run = match change {
            Some(Ok(Some(run))) => run,
            Some(Ok(None)) => bail!("{} was deleted", run.name_any()),
            // It is tried again; told once, and not each time.
            Some(Err(error)) => {
                if !unseen {
                    let text = format!("the run cannot be seen now: {}", error_chain(&error));
                    tell(&Line::new("waiting", text, Tone::Ask));
                }
                unseen = true;
                continue;
            }
            None => bail!("the Remediation cannot be watched any more"),
        };
        unseen = false;
        if run.status.is_none() {
            continue;
        }
        for line in run_progress::of_run(&run, known.as_ref()) {
            tell(&line);
        }
        known = run.status;
        match known.as_ref().map(|status| status.phase) {
            Some(Phase::Succeeded) => return Ok(ExitCode::SUCCESS),
            Some(phase) if phase.finished() => return Ok(ExitCode::FAILURE),
            Some(_) | None => {}
        }
    }
}

/// The run each time it changes, and `None` once it is gone.
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
    #[case::one_at_work(Some(Phase::Running), "failed-snapshots", Some("night is at work"))]
    #[case::one_of_it_that_waits(Some(Phase::Pending), "csi-operation-locks", Some("night waits"))]
    #[case::another_that_waits_for_a_person(Some(Phase::Pending), "orphaned-sources", None)]
    #[case::one_that_is_over(Some(Phase::Succeeded), "csi-operation-locks", None)]
    fn a_person_waits_only_for_what_the_daemon_would_wait_for(
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
