//! A soak: jams, faults, kills, people and webhooks, all by chance that can be repeated, and two replicas in the middle
//! of it. In the end an auditor reads the API server's audit log and holds it against the promises.
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

/// What the short one takes, in seconds.
const SHORT: u64 = 75;
/// Its seed.
const SEED: u64 = 8;
/// What every run that is open when the faults end is over within.
const END: Duration = Duration::from_secs(300);
/// What the log may take to have everything.
const LOG: Duration = Duration::from_secs(120);
/// One spell of mode observe, and the time in mode act before each.
const OBSERVE: Duration = Duration::from_secs(12);
const ACT: Duration = Duration::from_secs(50);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// The user of the second replica.
const OTHER: &str = "locksmith-other";

/// A number that may be set from outside.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}")),
    )
}

/// As quick as it gets, and with budgets that no soak spends.
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

/// Random jams, faults, kills, people and webhooks beside two replicas: every write was allowed by the open gates on
/// record, every hold is released, no ready snapshot was deleted, and in mode observe nothing was written at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_soak_breaks_no_promise() {
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
    // A soak in which nothing happened proves nothing.
    assert!(report.runs > 0 && report.writes.contains_key("hold"));
    println!("soak: every promise kept");
}

/// From the first fault to the last hold; gives the spells of mode observe.
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

/// Waits until every run is over, forgets them all, and waits until nothing is held.
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
        // Retention may have been quicker.
        let _ = api.delete(&run.name_any(), &Default::default()).await;
    }
    let free = async {
        while !held(stage).await.is_empty() {
            tokio::time::sleep(crate::support::daemon::POLL).await;
        }
    };
    // What is held after that, the auditor tells.
    let _ = tokio::time::timeout(END, free).await;
}

/// Everything that is held.
async fn held(stage: &Stage) -> Vec<String> {
    let holds = stage.list::<SnapshotHold>().await;
    let places = holds.iter().flat_map(|hold| hold.spec.sources.values());
    places.cloned().collect()
}

/// Reads the whole log, once it has everything that was asked until now.
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

/// Whether it is the making of a namespace by a name that the server completed.
fn made(event: &Event, name: &str) -> bool {
    let body = event.request_body.as_ref();
    let prefix = body.and_then(|body| body.pointer("/metadata/generateName")?.as_str());
    event.verb == "create" && prefix.is_some_and(|prefix| name.starts_with(prefix))
}

async fn progress(stage: &Stage, replicas: &Replicas, webhooks: &Webhooks, jams: &Jams) -> String {
    let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
    let runs: Api<Remediation> = Api::all(stage.testbed.client());
    // Progress that cannot be told is no reason to end.
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
