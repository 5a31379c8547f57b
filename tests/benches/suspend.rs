//! A thousand sources, and their claims, held and released: beside the playbook's loop of kubectl, and beside a client that
//! only makes as many writes.

use std::path::Path;
use std::process::Command;

use axum::http::Method;
use futures::StreamExt;
use kube::Client;
use locksmith::api::remediation::{RemediationStatus, StepRecord};
use locksmith::plan::StepName;
use serde_json::{Value, json};

use crate::figures::{Row, Spread, short};
use crate::server::{Ground, Jam, config, objects, seconds};
use crate::testbed::crds;

const SOURCES: usize = 1_000;
/// How many of them the loop of kubectl goes through: its time is the same for each.
const SAMPLE: usize = 50;
const ROUNDS: usize = 3;
/// What the configuration says to wait for before a hold is believed: not counted, and no part of either figure.
const QUIET: f64 = 1.0;
/// Requests under way at once, as many as the program has.
const CONCURRENCY: usize = 16;

const PLAYBOOK: &str = "
playbooks:
  suspend:
    alerts: []
    steps: [suspendSources, resumeSources]
    attempts: 1
";

/// How a source is held.
#[derive(Clone, Copy)]
enum Way {
    /// It is paused, and its claim has the copy trigger.
    WithItsClaim,
    /// By `spec.suspend`, where the CRD has it: one object, as the loop of kubectl writes it.
    Alone,
}

/// Seconds to and fro.
struct Both([Spread; 2]);

impl Both {
    fn sum(&self) -> f64 {
        self.0[0].median + self.0[1].median
    }

    fn line(&self, name: &str) {
        let [suspend, resume] = self.0.each_ref().map(ToString::to_string);
        println!("{name:>28}  {suspend:>24}  {resume:>24}");
    }
}

pub async fn bench() -> Vec<Row> {
    let mut rows = side_by_side(Way::WithItsClaim).await;
    rows.extend(side_by_side(Way::Alone).await);
    rows
}

async fn ground(way: Way) -> Ground {
    let crds = match way {
        Way::WithItsClaim => Vec::new(),
        Way::Alone => vec![crds::suspendable_sources()],
    };
    let ground = Ground::serving(crds).await;
    let jam = Jam {
        sources: SOURCES,
        failed: 1,
        pending: 0,
    };
    ground.jam(jam).await;
    ground
}

/// The program beside a client that only writes and beside a loop over the sources, one after the other: what else the machine
/// has to do differs from minute to minute.
async fn side_by_side(way: Way) -> Vec<Row> {
    let ground = ground(way).await;
    // Whoever logs in by a certificate pays for it with each request.
    let client = ground.service_account("bare").await.client();
    let mut bare = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.0.push(write_all(&client, way, true).await);
        bare.1.push(write_all(&client, way, false).await);
    }
    let by_hand = by_hand(ground.testbed.kubeconfig());
    let user = ground.service_account("locksmith-daemon").await;
    let daemon = ground.daemon(&user, &config(PLAYBOOK), 1).await;
    let mut ours = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("round-{round}");
        ground.ask(&name, "suspend").await;
        let status = ground.run_until(&name, over).await;
        assert_eq!(status.held, 0, "{status:?}");
        let plan = status.plan.as_ref().unwrap();
        let targets = &plan.step(StepName::SuspendSources).unwrap().targets;
        assert_eq!(targets.len(), SOURCES * writes(0, way, true).len());
        ours.0.push(took(&status, StepName::SuspendSources) - QUIET);
        ours.1.push(took(&status, StepName::ResumeSources));
    }
    drop(daemon);
    let ours = Both([Spread::of(ours.0), Spread::of(ours.1)]);
    let bare = Both([Spread::of(bare.0), Spread::of(bare.1)]);
    let what = match way {
        Way::WithItsClaim => format!("suspend and resume {SOURCES} sources and their claims"),
        Way::Alone => format!("suspend and resume {SOURCES} sources, by spec.suspend"),
    };
    println!("{what}; seconds, median of {ROUNDS} (least to most)");
    println!("{:>28}  {:>24}  {:>24}", "", "suspend", "resume");
    ours.line("locksmith, effect seen");
    bare.line("as many bare writes");
    let whole = by_hand.map(|of_sample| of_sample * SOURCES as f64 / SAMPLE as f64);
    println!(
        "{:>28}  {:>24}  {:>24}  ({:.1} sources a second; from {SAMPLE} sources, whose claims it leaves alone)",
        "kubectl and jq, in a loop",
        short(whole[0]),
        short(whole[1]),
        SOURCES as f64 / whole[0]
    );
    let (ours, bare, whole) = (ours.sum(), bare.sum(), whole[0] + whole[1]);
    vec![
        Row::new(
            &what,
            format!("{} s", short(ours)),
            &format!(
                "kubectl and jq in a loop, sources alone: {} s",
                short(whole)
            ),
            &format!("{:.0} times as fast", whole / ours),
        ),
        Row::new(
            "the same",
            format!("{} s", short(ours)),
            &format!("a client that only writes: {} s", short(bare)),
            &format!("{:.1} times its time", ours / bare),
        ),
    ]
}

fn over(status: &RemediationStatus) -> bool {
    status.phase.finished() && status.holds.is_empty()
}

/// Seconds from the start of a step until the cluster showed its effect.
fn took(status: &RemediationStatus, step: StepName) -> f64 {
    let of_step = |record: &&StepRecord| record.step == step;
    let record = status.steps.iter().find(of_step);
    let record = record.unwrap_or_else(|| panic!("no {step:?} in {status:#?}"));
    seconds(record.started_at, record.finished_at.unwrap())
}

/// The playbook's loop over the first few sources, to and fro, in seconds.
fn by_hand(kubeconfig: &Path) -> [f64; 2] {
    ["suspend", "resume"].map(|what| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/benches/by-hand");
        let begun = std::time::Instant::now();
        let status = Command::new(script)
            .args([what, &SAMPLE.to_string()])
            .env("KUBECONFIG", kubeconfig)
            .status()
            .unwrap();
        assert!(status.success());
        begun.elapsed().as_secs_f64()
    })
}

/// Makes the writes of a hold, or of its release, without a look at anything; in seconds.
async fn write_all(client: &Client, way: Way, hold: bool) -> f64 {
    let writes: Vec<_> = (0..SOURCES).flat_map(|at| writes(at, way, hold)).collect();
    let begun = std::time::Instant::now();
    futures::stream::iter(writes)
        .for_each_concurrent(CONCURRENCY, |(path, patch)| async move {
            objects::send(client, Method::PATCH, &path, &patch).await;
        })
        .await;
    begun.elapsed().as_secs_f64()
}

/// Paths and patches for one source.
fn writes(at: usize, way: Way, hold: bool) -> Vec<(String, Value)> {
    let mark = hold.then(|| "x".repeat(250));
    let (off, trigger) = (hold.then_some(true), hold.then_some("bench"));
    let name = objects::app(at);
    let source = format!("{}/{name}", objects::sources(at));
    let of_source = |switch: &str| json!({ "metadata": { "annotations": { "bench.example/hold": mark } }, "spec": { switch: off } });
    match way {
        Way::Alone => vec![(source, of_source("suspend"))],
        Way::WithItsClaim => {
            let claim = json!({
                "metadata": { "annotations": { "bench.example/hold": mark, "volsync.backube/use-copy-trigger": trigger } },
            });
            let path = format!("{}/{name}", objects::claims(at));
            vec![(source, of_source("paused")), (path, claim)]
        }
    }
}
