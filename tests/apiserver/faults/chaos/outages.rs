//! etcd and the API server fail during a run.

use crate::support::stage::{Settings, Stage};

use super::ends_well_or_is_undone;

/// Attempts to renew the Lease, 5 s each, before etcd continues: together longer than a Lease and a request, 15 s each.
const TRIES: usize = 6;

fn settings() -> Settings {
    Settings {
        deadline: "1h",
        ..Settings::default()
    }
}

/// etcd hangs during a run for longer than a lease and a request last: the program notices that it no longer leads, and the
/// run succeeds or is undone once etcd responds again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_hanging_etcd() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&settings()).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    stage.testbed.freeze_etcd();
    daemon
        .until("it not to lead", |samples| {
            samples["locksmith_leader"] == 0.0
        })
        .await;
    daemon
        .until("the outage to last", |_| {
            daemon.log_text().matches("lease not renewed").count() >= TRIES
        })
        .await;
    stage.testbed.thaw_etcd().await;
    ends_well_or_is_undone(&stage, &daemon).await;
    stage.released().await;
}

/// The API server is killed during a run and restarted: meanwhile the metrics report that nothing is observed, and the run
/// succeeds or is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_killed_api_server() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&settings()).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    stage.testbed.stop_apiserver();
    daemon
        .until("it to see nothing and not to lead", |samples| {
            samples["locksmith_observation_complete"] == 0.0 && samples["locksmith_leader"] == 0.0
        })
        .await;
    stage.testbed.start_apiserver().await;
    ends_well_or_is_undone(&stage, &daemon).await;
    stage.released().await;
}
