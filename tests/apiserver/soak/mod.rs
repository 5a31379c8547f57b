//! A soak test: random jams, faults, kills, human actions and webhooks, reproducible by seed, against two replicas. At the
//! end, an auditor reads the API server's audit log and checks it against the promises.
//!
//! ```text
//! jams ──► cluster ◄──── replicas ◄── faults, kill -9
//! people ────┘               ▲
//!                        webhooks at speed          audit log ──► auditor
//! ```
//!
//! `tests/soak --minutes N --seed S` runs a long one, tests/run a short one.

mod attack;
mod auditor;
mod jams;
mod replicas;
mod webhooks;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use kube::{Api, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::demo::scenario;

use crate::support::stage::{NAMESPACE, Settings, Stage, USER};
use crate::testbed::{Event, Testbed};
use auditor::{Auditor, Report};
use jams::Jams;
use replicas::{Order, Replicas};
use webhooks::Webhooks;

/// Duration of the short soak, in seconds.
const SHORT: u64 = 75;
/// Seed of the short soak.
const SEED: u64 = 8;
/// Time limit for open runs to finish once the faults have ended.
const END: Duration = Duration::from_secs(300);
/// Time limit for the audit log to be complete.
const LOG: Duration = Duration::from_secs(120);
/// Duration of a phase in mode observe, and of the phase in mode act before it.
const OBSERVE: Duration = Duration::from_secs(12);
const ACT: Duration = Duration::from_secs(50);
/// Interval of progress lines.
const PROGRESS: Duration = Duration::from_secs(10);

/// The user of the second replica.
const OTHER: &str = "locksmith-other";

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}")),
    )
}

/// The shortest durations, and budgets that no soak exhausts.
fn settings() -> Settings {
    Settings {
        settle: "1s",
        deadline: "1m",
        keep: 8,
        cooldown: "2s",
        gates: ", giveUpAfter: 30s, breakerAfter: 100000, maxDeletionsShare: 100%, \
                budgets: {within: 1d, perCluster: 100000, perPlaybook: 100000, perObject: 100000}",
        within: "20s",
        ..Settings::default()
    }
}

/// Random jams, faults, kills, people and webhooks with two replicas: every write is permitted by the recorded gates, every
/// hold is released, no ready snapshot is deleted, and in mode observe nothing is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs a real API server: ./tests/run"]
async fn soak_breaks_no_promise() {
    let seed = setting("LOCKSMITH_SOAK_SEED").unwrap_or(SEED);
    let lasts = setting("LOCKSMITH_SOAK_MINUTES").map_or(SHORT, |minutes| minutes * 60);
    let lasts = Duration::from_secs(lasts);
    println!("soak: seed {seed}, {} s", lasts.as_secs());
    let stage = Stage::jammed().await;
    let observed = soak(&stage, seed, lasts).await;
    let held = held(&stage).await;
    let report = audited(&stage.testbed, &[USER, OTHER], &observed, &held).await;
    println!("soak: {} runs, writes {:?}", report.runs, report.writes);
    let broken = report.violations.iter();
    let broken: Vec<_> = broken
        .map(|one| format!("{:?}: {}", one.rule, one.what))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    stage.released().await;
    // A soak without any run or hold proves nothing.
    assert!(report.runs > 0 && report.writes.contains_key("hold"));
    println!("soak: every promise kept");
}

/// From the first fault to the last hold; returns the phases of mode observe.
async fn soak(stage: &Stage, seed: u64, lasts: Duration) -> Vec<(Timestamp, Timestamp)> {
    let mut chance = Rng::with_seed(seed);
    let replicas = Replicas::start(stage, settings(), &mut chance).await;
    let webhooks = Webhooks::start(&replicas, chance.fork());
    let jams = Jams::start(stage, chance.fork());
    let begun = Instant::now();
    let mut observed = Vec::new();
    let report = async {
        let mut ticks = tokio::time::interval(PROGRESS);
        loop {
            ticks.tick().await;
            let so_far = progress(stage, &replicas, &webhooks, &jams).await;
            println!("soak: {:?} of {lasts:?}: {so_far}", begun.elapsed());
        }
    };
    let spells = async {
        while begun.elapsed() + OBSERVE < lasts {
            let left = lasts
                .saturating_sub(OBSERVE)
                .saturating_sub(begun.elapsed());
            tokio::time::sleep(ACT.min(left)).await;
            replicas.all(Order::Rest).await;
            let from = Timestamp::now();
            replicas.all(Order::Observe).await;
            tokio::time::sleep(OBSERVE).await;
            replicas.all(Order::Rest).await;
            observed.push((from, Timestamp::now()));
            replicas.all(Order::Act).await;
        }
    };
    tokio::select! {
        () = report => unreachable!("it reports for ever"),
        () = spells => {}
    }
    println!(
        "soak: {}",
        progress(stage, &replicas, &webhooks, &jams).await
    );
    webhooks.end().await;
    jams.end(stage).await;
    replicas.all(Order::Last).await;
    wind_up(stage).await;
    replicas.all(Order::Rest).await;
    observed
}

/// Waits until every run has finished, deletes the runs, and waits until nothing is held.
async fn wind_up(stage: &Stage) {
    let over = |run: &Remediation| run.status.as_ref().is_some_and(|one| one.phase.finished());
    let runs: Api<Remediation> = Api::all(stage.testbed.client());
    let ended = scenario::until(runs.clone(), "every run to be over", END, |all| {
        all.iter().all(|run| over(run))
    });
    let ended = ended.await.is_ok();
    assert!(ended, "not over: {:#?}", stage.list::<Remediation>().await);
    let api = stage.api::<Remediation>(NAMESPACE);
    for run in stage.list::<Remediation>().await {
        // Retention may have deleted it already.
        let _ = api.delete(&run.name_any(), &Default::default()).await;
    }
    let free = async {
        while !held(stage).await.is_empty() {
            tokio::time::sleep(crate::support::daemon::POLL).await;
        }
    };
    // The auditor reports what is still held after that.
    let _ = tokio::time::timeout(END, free).await;
}

/// All held sources.
async fn held(stage: &Stage) -> Vec<String> {
    let holds = stage.list::<SnapshotHold>().await;
    let places = holds.iter().flat_map(|hold| hold.spec.sources.values());
    places.cloned().collect()
}

/// Reads the whole log, once it is complete up to now.
async fn audited(
    testbed: &Testbed,
    users: &[&str],
    observed: &[(Timestamp, Timestamp)],
    held: &[String],
) -> Report {
    let last = testbed.namespace("soak-end").await;
    let deadline = Instant::now() + LOG;
    loop {
        let mut auditor = Auditor::new(users, NAMESPACE, observed);
        let mut complete = false;
        testbed.audit().each(|event: Event| {
            auditor.read(&event);
            complete |= event.resource == "namespaces" && made(&event, &last);
        });
        if complete {
            return auditor.report(held);
        }
        assert!(Instant::now() < deadline, "the log never had {last}");
        tokio::time::sleep(crate::support::daemon::POLL).await;
    }
}

/// Whether it is the creation of a namespace whose name was generated.
fn made(event: &Event, name: &str) -> bool {
    let body = event.request_body.as_ref();
    let prefix = body.and_then(|body| body.pointer("/metadata/generateName")?.as_str());
    event.verb == "create" && prefix.is_some_and(|prefix| name.starts_with(prefix))
}

async fn progress(stage: &Stage, replicas: &Replicas, webhooks: &Webhooks, jams: &Jams) -> String {
    let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
    let runs: Api<Remediation> = Api::all(stage.testbed.client());
    // Failing to report progress does not end the soak.
    let all = runs.list(&Default::default()).await;
    for run in all.into_iter().flat_map(|all| all.items) {
        let phase = run.status.map_or(Phase::Pending, |status| status.phase);
        *phases.entry(phase.as_str()).or_default() += 1;
    }
    format!(
        "runs {phases:?}, {} jams, {} kills, {} faults, webhooks {:?}",
        jams.count(),
        replicas.kills(),
        replicas.faults(),
        webhooks.answers()
    )
}
