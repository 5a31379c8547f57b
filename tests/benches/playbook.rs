//! The whole playbook on a large jam, compared with the manual procedure: the time that each takes, without the cluster's
//! own.
//!
//! A step's own time is from its start until the API server has responded to its last write to an object of the cluster. It
//! includes reads before the writes, but not the time until the cluster shows their effect. Both are read from the audit
//! log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use locksmith::api::StepName;
use locksmith::api::remediation::StepPhase;

use crate::by_hand;
use crate::figures::{Row, short, size};
use crate::server::{Ground, Jam, Provisioner, config, seconds, written};
use crate::testbed::Event;

fn jam() -> Jam {
    Jam {
        sources: size(1_000),
        failed: size(500),
        pending: size(200),
    }
}

/// Of each manual step that goes through objects, only one part in this number is performed.
const PART: usize = 20;

/// The manual steps in the order of the playbook, each with the step of the program, and the number of objects.
fn steps(jam: Jam) -> [(&'static str, StepName, usize); 5] {
    [
        ("suspend", StepName::SuspendSources, jam.sources / PART),
        ("delete", StepName::DeleteFailedSnapshots, jam.failed / PART),
        ("restart", StepName::RestartProvisioner, 0),
        ("verify", StepName::VerifyProvisioning, jam.pending),
        ("resume", StepName::ResumeSources, jam.sources / PART),
    ]
}

pub async fn bench() -> Vec<Row> {
    let jam = jam();
    let ground = Ground::new().await;
    // The manual procedure has a jam of its own, as a deletion happens only once.
    ground.jam(jam).await;
    let by_hand = in_loops(&ground, jam).await;
    drop(ground);
    let ground = Ground::new().await;
    ground.jam(jam).await;
    let ours = locksmith(&ground, jam).await;
    println!(
        "{} sources, {} failed snapshots, {} pending claims; seconds of its own, step by step",
        jam.sources, jam.failed, jam.pending
    );
    println!("{:>10}  {:>10}  {:>24}", "", "locksmith", "kubectl and jq");
    let names = steps(jam).map(|(name, ..)| name);
    for ((name, ours), by_hand) in names.iter().zip(ours).zip(by_hand) {
        println!("{name:>10}  {:>10}  {:>24}", short(ours), short(by_hand));
    }
    let (ours, by_hand) = (ours.iter().sum::<f64>(), by_hand.iter().sum::<f64>());
    println!("{:>10}  {:>10}  {:>24}", "all", short(ours), short(by_hand));
    vec![Row::new(
        &format!(
            "the playbook's own time, {} sources, {} failed snapshots, {} pending claims",
            jam.sources, jam.failed, jam.pending
        ),
        format!("{} s", short(ours)),
        &format!("by hand, kubectl and jq: {} s", short(by_hand)),
        &format!("{:.0} times as fast", by_hand / ours),
    )]
}

/// Own time of each step of a run, in seconds.
async fn locksmith(ground: &Ground, jam: Jam) -> [f64; 5] {
    let user = ground.service_account("locksmith-daemon").await;
    let daemon = ground.daemon(&user, &config(""), jam.failed).await;
    let provisioner = Provisioner::watch(ground.client(), "first", "second", jam.pending);
    ground.ask("night", "csi-operation-locks").await;
    let status = ground
        .run_until("night", |status| status.phase.finished())
        .await;
    drop((daemon, provisioner));
    println!("{:?}: {}", status.phase, status.message);
    let all = ground.requests_of("locksmith-daemon").await;
    let mut own = [0.0; 5];
    for (own, (_, name, _)) in own.iter_mut().zip(steps(jam)) {
        // The program restarts before it deletes.
        let step = status.steps.iter().find(|step| step.step == name).unwrap();
        assert_eq!(step.phase, StepPhase::Succeeded, "{step:#?}");
        let span = [step.started_at, step.finished_at.unwrap()];
        let answers = written(&all, span);
        *own = answers.last().copied().unwrap_or(0.0);
        if name == StepName::DeleteFailedSnapshots {
            print_deletion_requests(&all, span);
        }
    }
    own
}

/// Prints the requests of the deletion by kind, with the seconds that the API server took. Concurrent requests are added up.
fn print_deletion_requests(events: &[Event], [begun, ended]: [Timestamp; 2]) {
    let mut kinds: BTreeMap<(&str, &str), (usize, f64)> = BTreeMap::new();
    for event in events {
        if event.received >= begun && event.received <= ended && event.verb != "watch" {
            let (number, took) = kinds.entry((&event.verb, &event.resource)).or_default();
            *number += 1;
            *took += seconds(event.received, event.answered);
        }
    }
    let kinds = kinds.iter().map(|((verb, resource), (number, took))| {
        format!("{number} {verb} {resource} ({} s)", short(*took))
    });
    let kinds: Vec<_> = kinds.collect();
    println!("requests of the deletion: {}", kinds.join(", "));
}

/// Own time of each manual step, extrapolated to the whole jam, in seconds.
async fn in_loops(ground: &Ground, jam: Jam) -> [f64; 5] {
    let person = by_hand::person(ground).await;
    let provisioner = Provisioner::watch(ground.client(), "first", "second", jam.pending);
    let mut spans = Vec::new();
    for (step, _, number) in steps(jam) {
        spans.push(by_hand::run(&person, step, number).await);
    }
    drop(provisioner);
    let all = by_hand::requests(ground).await;
    let mut own = [0.0; 5];
    for ((own, span), (step, _, number)) in own.iter_mut().zip(spans).zip(steps(jam)) {
        let answers = written(&all, span);
        *own = if ["restart", "verify"].contains(&step) {
            answers.last().copied().unwrap_or(0.0)
        } else {
            assert_eq!(answers.len(), number, "{step}");
            by_hand::of_all(&answers, number * PART)
        };
    }
    own
}
