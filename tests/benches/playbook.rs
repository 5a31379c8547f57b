//! The whole playbook on a large jam, compared with the manual procedure: the time that each takes, without the cluster's
//! own.
//!
//! A step's own time is from its start until the API server has responded to its last write to an object of the cluster. It
//! includes reads before the writes, but not the time until the cluster shows their effect. Both are read from the audit
//! log.

use locksmith::api::StepName;
use locksmith::api::remediation::StepPhase;

use crate::by_hand;
use crate::figures::{Row, short};
use crate::server::{Ground, Jam, Provisioner, config, written};

const JAM: Jam = Jam {
    sources: 1_000,
    failed: 500,
    pending: 200,
};
/// Of each manual step that goes through objects, only one part in this number is performed.
const PART: usize = 20;

/// The manual steps in the order of the playbook, each with the step of the program, and the number of objects.
const STEPS: [(&str, StepName, usize); 5] = [
    ("suspend", StepName::SuspendSources, JAM.sources / PART),
    ("delete", StepName::DeleteFailedSnapshots, JAM.failed / PART),
    ("restart", StepName::RestartProvisioner, 0),
    ("verify", StepName::VerifyProvisioning, JAM.pending),
    ("resume", StepName::ResumeSources, JAM.sources / PART),
];

pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    // The manual procedure has a jam of its own, as a deletion happens only once.
    ground.jam(JAM).await;
    let by_hand = in_loops(&ground).await;
    drop(ground);
    let ground = Ground::new().await;
    ground.jam(JAM).await;
    let ours = locksmith(&ground).await;
    println!(
        "{} sources, {} failed snapshots, {} pending claims; seconds of its own, step by step",
        JAM.sources, JAM.failed, JAM.pending
    );
    println!("{:>10}  {:>10}  {:>24}", "", "locksmith", "kubectl and jq");
    let names = STEPS.map(|(name, ..)| name);
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

/// Own time of each step of a run, in seconds.
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
    for (own, (_, name, _)) in own.iter_mut().zip(STEPS) {
        // The program restarts before it deletes.
        let step = status.steps.iter().find(|step| step.step == name).unwrap();
        assert_eq!(step.phase, StepPhase::Succeeded, "{step:#?}");
        let answers = written(&all, [step.started_at, step.finished_at.unwrap()]);
        *own = answers.last().copied().unwrap_or(0.0);
    }
    own
}

/// Own time of each manual step, extrapolated to the whole jam, in seconds.
async fn in_loops(ground: &Ground) -> [f64; 5] {
    let person = by_hand::person(ground).await;
    let provisioner = Provisioner::watch(ground.client(), "first", "second", JAM.pending);
    let mut spans = Vec::new();
    for (step, _, number) in STEPS {
        spans.push(by_hand::run(&person, step, number).await);
    }
    drop(provisioner);
    let all = by_hand::requests(ground).await;
    let mut own = [0.0; 5];
    for ((own, span), (step, _, number)) in own.iter_mut().zip(spans).zip(STEPS) {
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
