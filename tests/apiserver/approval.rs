//! What a person says at the command line, and what comes of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::ResourceExt;
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::api::volsync::ReplicationSource;

use crate::stage::{DRIVER, Settings, Stage};

/// Runs `locksmith` as the cluster's administrator. Nobody sits at a terminal.
pub async fn locksmith(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
    let kubeconfig: PathBuf = kubeconfig.to_owned();
    command
        .args(args)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("NO_COLOR", "1");
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

pub fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// Lets the alert of the orphans fire, and returns the name of the run once it waits for a person.
pub async fn waiting_for_a_person(stage: &Stage, daemon: &crate::daemon::Daemon) -> String {
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
async fn orphaned_sources_go_once_a_person_approves_of_the_plan() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    let kubeconfig = stage.testbed.kubeconfig();

    let unanswered = locksmith(kubeconfig, &["approve", &name]).await;
    assert_eq!(unanswered.status.code(), Some(2), "{}", said(&unanswered));
    assert!(
        said(&unanswered).contains("say --yes"),
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

    let approved = locksmith(kubeconfig, &["approve", &name, "--yes"]).await;
    assert!(approved.status.success(), "{}", said(&approved));
    assert!(
        said(&approved).contains("ReplicationSource ai/archon"),
        "{}",
        said(&approved)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_rejected_plan_ends_the_run_and_changes_nothing() {
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
    let released = locksmith(kubeconfig, &["release", "--all"]).await;
    assert!(released.status.success(), "{}", said(&released));
    let held = |source: &ReplicationSource| source.annotations().contains_key("locksmith.dev/hold");
    let sources = stage
        .until::<ReplicationSource>("the sources", |_| true)
        .await;
    assert!(
        sources
            .iter()
            .all(|source| !held(source) && source.spec.paused.is_none())
    );
    let again = locksmith(kubeconfig, &["release", "--all"]).await;
    assert_eq!(said(&again), "nothing is held\n");
}
