//! The whole playbook on a large jam, beside the same done by hand: what each takes that is not the cluster's own time.
//!
//! A step's own time is from its start until the API server has answered its last write to an object of the cluster: what
//! is read before is in it, what the cluster then takes to show the effect is not. Both are read from the audit log.

use std::process::Command;

use jiff::Timestamp;
use locksmith::api::remediation::StepPhase;

use crate::figures::{Row, short};
use crate::server::{Ground, Jam, Provisioner, config, seconds, touches_the_cluster};
use crate::testbed::{Event, Identity};

const JAM: Jam = Jam {
    sources: 1_000,
    failed: 500,
    pending: 200,
};
/// By hand one part in so many is done of each step that goes from object to object.
const PART: usize = 20;

const STEPS: [(&str, usize); 5] = [
    ("suspend", JAM.sources / PART),
    ("delete", JAM.failed / PART),
    ("restart", 0),
    ("verify", JAM.pending),
    ("resume", JAM.sources / PART),
];

pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    // What is done by hand has a jam of its own: a deletion is made once.
    ground.jam(JAM).await;
    let person = ground.user("person").await;
    let by_hand = by_hand(&ground, &person).await;
    drop(ground);
    let ground = Ground::new().await;
    ground.jam(JAM).await;
    let ours = locksmith(&ground).await;
    println!(
        "{} sources, {} failed snapshots, {} pending claims; seconds of its own, step by step",
        JAM.sources, JAM.failed, JAM.pending
    );
    println!("{:>10}  {:>10}  {:>24}", "", "locksmith", "kubectl and jq");
    let names = STEPS.map(|(name, _)| name);
    for ((name, ours), by_hand) in names.iter().zip(ours).zip(by_hand) {
        println!("{name:>10}  {:>10}  {:>24}", short(ours), short(by_hand));
    }
    let (ours, by_hand) = (ours.iter().sum::<f64>(), by_hand.iter().sum::<f64>());
    println!("{:>10}  {:>10}  {:>24}", "all", short(ours), short(by_hand));
    vec![Row::new(
        &format!(
            "the playbook's own time, {} sources, {} failed snapshots, {} pending claims",
            JAM.sources, JAM.failed, JAM.pending
        ),
        format!("{} s", short(ours)),
        &format!("by hand, kubectl and jq: {} s", short(by_hand)),
        &format!("{:.0} times as fast", by_hand / ours),
    )]
}

/// Own seconds of each step of a run.
async fn locksmith(ground: &Ground) -> [f64; 5] {
    let user = ground.service_account("locksmith-daemon").await;
    let daemon = ground.daemon(&user, &config(""), JAM.failed).await;
    let provisioner = Provisioner::watch(ground.client(), "first", "second", JAM.pending);
    ground.ask("night", "csi-operation-locks").await;
    let status = ground
        .run_until("night", |status| status.phase.finished())
        .await;
    drop((daemon, provisioner));
    println!("{:?}: {}", status.phase, status.message);
    let all = ground.requests_of("locksmith-daemon").await;
    let mut own = [0.0; 5];
    for (own, step) in own.iter_mut().zip(&status.steps) {
        assert_eq!(step.phase, StepPhase::Succeeded, "{step:#?}");
        let written = written(&all, step.started_at, step.finished_at.unwrap());
        *own = written.last().copied().unwrap_or(0.0);
    }
    own
}

/// Own seconds of each step by hand, as of the whole jam.
async fn by_hand(ground: &Ground, person: &Identity) -> [f64; 5] {
    let provisioner = Provisioner::watch(ground.client(), "first", "second", JAM.pending);
    let mut spans = Vec::new();
    for (step, number) in STEPS {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/benches/by-hand");
        let mut script = Command::new(script);
        script.arg(step).env("KUBECONFIG", person.kubeconfig());
        if number > 0 {
            script.arg(number.to_string());
        }
        let begun = Timestamp::now();
        let done = tokio::task::spawn_blocking(move || script.status().unwrap());
        assert!(done.await.unwrap().success(), "{step}");
        spans.push((begun, Timestamp::now()));
    }
    drop(provisioner);
    let all = ground.requests_of("person").await;
    let mut own = [0.0; 5];
    for ((own, (begun, ended)), (step, number)) in own.iter_mut().zip(spans).zip(STEPS) {
        let written = written(&all, begun, ended);
        *own = written.last().copied().unwrap_or(0.0);
        if !["restart", "verify"].contains(&step) {
            assert_eq!(written.len(), number, "{step}");
            let first = written[0];
            let each = (*own - first) / (number - 1) as f64;
            *own = first + each * (number * PART - 1) as f64;
        }
    }
    own
}

/// Seconds from `begun` until the answer to each write before `ended`.
fn written(events: &[Event], begun: Timestamp, ended: Timestamp) -> Vec<f64> {
    let written = events
        .iter()
        .filter(|event| touches_the_cluster(event))
        .filter(|event| event.received >= begun && event.received <= ended);
    let mut written: Vec<_> = written.map(|it| seconds(begun, it.answered)).collect();
    written.sort_by(f64::total_cmp);
    written
}
