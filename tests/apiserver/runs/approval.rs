//! Decisions of a person at the command line, and their effects.

use kube::ResourceExt;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Phase, Remediation, RemediationStatus};
use locksmith::api::volsync::ReplicationSource;
use serde_json::json;

use crate::support::command::{locksmith, said};
use crate::support::stage::{DRIVER, NAMESPACE, Settings, Stage};

/// Approves a run's plan; returns the output.
pub async fn approve(stage: &Stage, run: &str) -> String {
    let kubeconfig = stage.testbed.kubeconfig();
    let approved = locksmith(kubeconfig, &["approve", run, "--yes"]).await;
    assert!(approved.status.success(), "{}", said(&approved));
    said(&approved)
}

/// Makes the alert of the orphans fire; returns the name of the run once it waits for a person.
pub async fn waiting_for_a_person(
    stage: &Stage,
    daemon: &crate::support::daemon::Daemon,
) -> String {
    let (code, answer) = daemon
        .fire("LocksmithSourceOrphaned", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    let status = stage
        .run_until("the run to wait for a person", |status| {
            let closed: Vec<_> = status.gates.iter().filter(|gate| !gate.open).collect();
            status.plan.is_some() && closed.len() == 1 && closed[0].gate == "approval"
        })
        .await;
    assert_eq!(status.phase, Phase::Pending);
    let runs = stage
        .until::<Remediation>("the run", |runs| runs.len() == 1)
        .await;
    runs[0].name_any()
}

fn names(sources: &[std::sync::Arc<ReplicationSource>]) -> Vec<String> {
    let mut names: Vec<_> = sources.iter().map(|source| source.name_any()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn approved_plan_deletes_orphaned_sources() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    let kubeconfig = stage.testbed.kubeconfig();

    let unanswered = locksmith(kubeconfig, &["approve", &name]).await;
    assert_eq!(unanswered.status.code(), Some(2), "{}", said(&unanswered));
    assert!(
        said(&unanswered).contains("pass --yes"),
        "{}",
        said(&unanswered)
    );
    let unknown = locksmith(kubeconfig, &["approve", "nobody", "--yes"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        said(&unknown).contains("there is no Remediation nobody"),
        "{}",
        said(&unknown)
    );

    let approved = approve(&stage, &name).await;
    assert!(
        approved.contains("ReplicationSource ai/archon"),
        "{approved}"
    );
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    assert_eq!(status.evidence.len(), 3);
    let left = stage
        .until::<ReplicationSource>("the sources", |_| true)
        .await;
    let orphaned: Vec<_> = stage
        .jam
        .orphaned
        .iter()
        .map(|source| source.name.clone())
        .collect();
    assert_eq!(left.len(), stage.jam.sources.len() - orphaned.len());
    assert!(names(&left).iter().all(|name| !orphaned.contains(name)));

    let listed = locksmith(kubeconfig, &["runs"]).await;
    assert!(said(&listed).contains("Succeeded"), "{}", said(&listed));
}

/// The reason for which the gate `approval` is closed.
fn unapproved(status: &RemediationStatus) -> Option<&str> {
    let mut gates = status.gates.iter();
    let gate = gates.find(|gate| gate.gate == "approval" && !gate.open)?;
    Some(&gate.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn expired_or_other_approval_is_ignored() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    let plan = stage.list::<Remediation>().await.remove(0).status.unwrap();
    let plan = plan.plan.unwrap().hash;
    let approval = json!({
        "decision": "Approved",
        "plan": plan,
        "by": "ada",
        "at": jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25),
    });
    stage
        .patch::<Remediation>(NAMESPACE, &name, &json!({"spec": {"approval": approval}}))
        .await;
    let old = |status: &RemediationStatus| {
        unapproved(status).is_some_and(|why| why.contains("by ada is older than"))
    };
    let status = stage.run_until("the approval to be too old", old).await;
    assert_eq!(status.phase, Phase::Pending);

    // One of the orphans is deleted by itself: the new plan has not been approved.
    let gone = &stage.jam.orphaned[0];
    let sources = stage.api::<ReplicationSource>(&gone.namespace);
    sources
        .delete(&gone.name, &Default::default())
        .await
        .unwrap();
    let decided = format!("ada decided on plan {plan}, but the plan is now ");
    let asks_again = |status: &RemediationStatus| {
        let changed = status.plan.as_ref().is_some_and(|now| now.hash != plan);
        changed && unapproved(status).is_some_and(|why| why.starts_with(&decided))
    };
    let status = stage
        .run_until("the changed plan to ask again", asks_again)
        .await;
    assert_eq!(status.phase, Phase::Pending);
    assert!(stage.deleted().await.is_empty());

    approve(&stage, &name).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let left = stage.jam.orphaned.len() - 1;
    assert_eq!(stage.deleted().await["replicationsources"].len(), left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn rejected_plan_ends_the_run_without_changes() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    let rejected = locksmith(stage.testbed.kubeconfig(), &["reject", &name, "--yes"]).await;
    assert!(rejected.status.success(), "{}", said(&rejected));
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Aborted);
    assert!(
        status.message.contains("rejected by admin"),
        "{}",
        status.message
    );
    let left = stage
        .until::<ReplicationSource>("the sources", |_| true)
        .await;
    assert_eq!(left.len(), stage.jam.sources.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn release_needs_no_daemon() {
    let stage = Stage::jammed().await;
    let mut daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert!(status.held > 0, "{status:#?}");
    daemon.kill();
    let kubeconfig = stage.testbed.kubeconfig();
    let what = locksmith(kubeconfig, &["release"]).await;
    assert_eq!(what.status.code(), Some(2), "{}", said(&what));

    // One source only.
    let mut names = stage.held().await;
    let hold = stage.list::<SnapshotHold>().await.remove(0);
    let place = hold.spec.sources.values().next().unwrap().clone();
    let unknown = locksmith(kubeconfig, &["release", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        said(&unknown).contains("nobody is neither a SnapshotHold nor a held source"),
        "{}",
        said(&unknown)
    );
    assert_eq!(stage.held().await, names);
    let released = locksmith(kubeconfig, &["release", &place]).await;
    let told = format!("released {place}, held by SnapshotHold {NAMESPACE}/");
    assert!(
        released.status.success() && said(&released).contains(&told),
        "{}",
        said(&released)
    );
    let (_, name) = place.split_once('/').unwrap();
    let at = names.iter().position(|other| other == name).unwrap();
    names.remove(at);
    assert_eq!(stage.held().await, names);

    let released = locksmith(kubeconfig, &["release", "--all"]).await;
    assert!(released.status.success(), "{}", said(&released));
    stage.nothing_is_held().await;
    let again = locksmith(kubeconfig, &["release", "--all"]).await;
    assert_eq!(said(&again), "nothing is held\n");
}
