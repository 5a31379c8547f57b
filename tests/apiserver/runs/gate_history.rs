//! Budgets and outcomes of earlier runs are read from the Remediations, not from the memory of a process.

use kube::ResourceExt;
use locksmith::api::remediation::{Phase, Remediation, RemediationStatus};

use crate::support::command::{locksmith, said};
use crate::support::daemon::{Daemon, notification};
use crate::support::stage::{DRIVER, Settings, Stage};

/// Permits one run, and one failure.
const ONE: &str = ", breakerAfter: 1, budgets: {perCluster: 1}";

fn settings() -> Settings {
    Settings {
        deadline: "1h",
        // Has passed before the next alert.
        cooldown: "10ms",
        ..Settings::default()
    }
}

/// Names of the closed gates.
fn closed(status: &RemediationStatus) -> Vec<&str> {
    let closed = status.gates.iter().filter(|gate| !gate.open);
    closed.map(|gate| &*gate.gate).collect()
}

/// The run that is not `first`, once `wanted` accepts its status.
async fn next_run(
    stage: &Stage,
    first: &str,
    what: &str,
    wanted: impl Fn(&RemediationStatus) -> bool,
) -> RemediationStatus {
    let is =
        |run: &Remediation| run.name_any() != first && run.status.as_ref().is_some_and(&wanted);
    let runs = stage
        .until::<Remediation>(what, |runs| runs.iter().any(|run| is(run)))
        .await;
    let run = runs.iter().find(|run| is(run)).unwrap();
    run.status.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn budget_and_breaker_survive_a_restart() {
    let stage = Stage::jammed().await;
    let none = locksmith(stage.testbed.kubeconfig(), &["reset"]).await;
    assert_eq!(said(&none), "no run has finished\n");
    let hopeless = Settings {
        delete_within: "1ms",
        ..settings()
    };
    let mut daemon = stage.daemon(&hopeless).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Failed, "{status:#?}");
    stage.released().await;
    let first = stage.list::<Remediation>().await[0].name_any();
    daemon.kill();

    let limited = Settings {
        gates: ONE,
        ..settings()
    };
    let mut daemon = Daemon::start(stage.user().kubeconfig(), &limited.yaml()).await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    daemon.notify(&alert).await;
    let both = |status: &RemediationStatus| closed(status) == ["budget", "breaker"];
    next_run(&stage, &first, "budget and breaker to be closed", both).await;

    let reset = locksmith(stage.testbed.kubeconfig(), &["reset"]).await;
    let told = format!("reset: failures up to {first} no longer count\n");
    assert_eq!(said(&reset), told);
    let budget = |status: &RemediationStatus| closed(status) == ["budget"];
    let status = next_run(&stage, &first, "the gate of the breaker to open", budget).await;
    assert_eq!((status.phase, status.started_at), (Phase::Pending, None));
    daemon.kill();

    // The reset is recorded, too: only the budget differs for the next process.
    let roomy = Settings {
        gates: ", breakerAfter: 1",
        ..settings()
    };
    let daemon = Daemon::start(stage.user().kubeconfig(), &roomy.yaml()).await;
    let over = |status: &RemediationStatus| status.phase.finished();
    let status = next_run(&stage, &first, "the run to be over", over).await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
}
