//! etcd and the API server go away in the middle of a run.

use crate::support::stage::{Settings, Stage};

use super::ends_well_or_is_undone;

/// Tries to renew the Lease, of 5 s each, before what hung goes on: more than the 15 s of a Lease and of a call.
const TRIES: usize = 6;

fn settings() -> Settings {
    Settings {
        deadline: "1h",
        ..Settings::default()
    }
}

/// etcd hangs in the middle of a run for longer than a lease and a call last: the program knows that it does not lead
/// any more, and the run ends well or is undone once etcd answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn etcd_hangs_in_the_middle_of_a_run() {
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

/// The API server is killed in the middle of a run and comes back: meanwhile the metrics say that nothing is seen, and
/// the run ends well or is undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn the_api_server_is_killed_in_the_middle_of_a_run() {
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
