//! A thousand sources, held, proven and released, compared with the playbook's loop of kubectl, and with a client that
//! patches each of them.

use axum::http::Method;
use futures::StreamExt;
use kube::Client;
use locksmith::api::StepName;
use locksmith::api::remediation::{RemediationStatus, StepRecord};
use serde_json::json;

use crate::by_hand;
use crate::figures::{Row, Spread, short, size};
use crate::server::{Ground, Jam, config, objects, over, seconds, written};
use crate::testbed::Identity;

fn sources() -> usize {
    size(1_000)
}

/// Number of sources in the loop of kubectl; each takes the same time.
const SAMPLE: usize = 25;
/// Other load of a shared machine changes from second to second, so each round measures all of them, one after the other.
fn rounds() -> usize {
    size(7)
}

/// Number of concurrent requests, as in the program.
const CONCURRENCY: usize = 16;

/// A run that only holds would have nothing to do, so this one deletes one snapshot during the hold.
const PLAYBOOK: &str = "
playbooks:
  suspend:
    alerts: []
    steps: [suspendSources, deleteFailedSnapshots, resumeSources]
    attempts: 1
";

/// Seconds for hold and release in each round.
#[derive(Default)]
struct Rounds(Vec<[f64; 2]>);

impl Rounds {
    fn sums(&self) -> Vec<f64> {
        self.0.iter().map(|[to, fro]| to + fro).collect()
    }

    /// Ratio to the other one in each round.
    fn times(&self, other: &Self) -> Spread {
        let both = self.sums().into_iter().zip(other.sums());
        Spread::of(both.map(|(one, other)| one / other).collect())
    }

    fn line(&self, name: &str) {
        let way = |at: usize| Spread::of(self.0.iter().map(|both| both[at]).collect());
        let [suspend, resume] = [0, 1].map(|at| way(at).to_string());
        println!("{name:>28}  {suspend:>24}  {resume:>24}");
    }
}

/// The program, a client that only writes, and a loop over the sources, measured one at a time.
pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    let jam = Jam {
        sources: sources(),
        failed: 0,
        pending: 0,
    };
    let created = ground.jam(jam).await;
    // A client with a certificate would be slower with each request.
    let bare_user = ground.service_account("bare").await;
    let user = ground.service_account("locksmith-daemon").await;
    let person = by_hand::person(&ground).await;
    // A first run without measuring, as kubectl caches the discovery.
    in_a_loop(&ground, &person).await;
    let (mut bare, mut looped, mut ours) =
        (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..rounds() {
        looped.0.push(in_a_loop(&ground, &person).await);
        let client = bare_user.client();
        let hold = write_all(&client, true).await;
        bare.0.push([hold, write_all(&client, false).await]);
        ground.fail_snapshots(&created[..1]).await;
        let daemon = ground.daemon(&user, &config(PLAYBOOK), 1).await;
        ours.0.push(run(&ground, &format!("round-{round}")).await);
        assert!(daemon.terminate().await.success());
    }
    let what = format!("hold, prove and release {} sources", sources());
    println!("{what}; seconds, median of {} (least to most)", rounds());
    println!("{:>28}  {:>24}  {:>24}", "", "suspend", "resume");
    ours.line("locksmith, effect seen");
    bare.line("as many bare writes");
    looped.line("kubectl and jq, in a loop");
    let (loops, bares) = (looped.times(&ours), bare.times(&ours));
    println!(
        "{:>28}  {loops} times as fast as the loop, {bares} times as fast as the bare client, which is {} times as fast as the loop",
        "of each round",
        looped.times(&bare)
    );
    let median = |rounds: &Rounds| short(Spread::of(rounds.sums()).median);
    vec![
        Row::new(
            &what,
            format!("{} s", median(&ours)),
            &format!(
                "kubectl and jq in a loop, sources alone: {} s",
                median(&looped)
            ),
            &format!("{:.0} times as fast", loops.median),
        ),
        Row::new(
            "the same",
            format!("{} s", median(&ours)),
            &format!("a client that only writes: {} s", median(&bare)),
            &format!("{:.1} times as fast", bares.median),
        ),
    ]
}

/// Hold and release by a run of the program, until the cluster shows each effect, in seconds.
async fn run(ground: &Ground, name: &str) -> [f64; 2] {
    ground.ask(name, "suspend").await;
    let status = ground.run_until(name, over).await;
    assert_eq!((status.held, status.evidence.len()), (0, 1), "{status:?}");
    let plan = status.plan.as_ref().unwrap();
    let suspend = plan.step(StepName::SuspendSources).unwrap();
    assert_eq!(suspend.held_sources().count(), sources());
    [
        took(&status, StepName::SuspendSources),
        took(&status, StepName::ResumeSources),
    ]
}

/// Seconds from the start of a step until the cluster showed its effect.
fn took(status: &RemediationStatus, step: StepName) -> f64 {
    let of_step = |record: &&StepRecord| record.step == step;
    let record = status.steps.iter().find(of_step);
    let record = record.unwrap_or_else(|| panic!("no {step:?} in {status:#?}"));
    seconds(record.started_at, record.finished_at.unwrap())
}

/// Hold and release by the playbook's loop over all sources, in seconds.
async fn in_a_loop(ground: &Ground, person: &Identity) -> [f64; 2] {
    let spans = [
        by_hand::run(person, "suspend", SAMPLE).await,
        by_hand::run(person, "resume", SAMPLE).await,
    ];
    let all = by_hand::requests(ground).await;
    spans.map(|span| {
        let patched = written(&all, span);
        assert_eq!(patched.len(), SAMPLE);
        by_hand::of_all(&patched, sources())
    })
}

/// The writes of a hold, or of its release, without any read; in seconds.
async fn write_all(client: &Client, hold: bool) -> f64 {
    let paused = hold.then_some(true);
    let begun = std::time::Instant::now();
    futures::stream::iter(0..sources())
        .for_each_concurrent(CONCURRENCY, |at| async move {
            let path = format!("{}/{}", objects::sources(at), objects::app(at));
            let body = json!({ "spec": { "paused": paused } });
            objects::send(client, Method::PATCH, &path, &body).await;
        })
        .await;
    begun.elapsed().as_secs_f64()
}
