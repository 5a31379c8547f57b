//! A Remediation that cannot be read does not count as deleted: its sources stay held until the deadline, and no longer,
//! whichever gate is closed.

use axum::http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use locksmith::api::STOP_ANNOTATION;
use locksmith::api::hold::SnapshotHold;
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::fault_proxy::{Proxy, script, status};
use crate::support::stage::{NAMESPACE, Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn hold_of_an_unreadable_run_lasts_until_its_deadline() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        deadline: "1h",
        ..Settings::default()
    };
    let mut before = stage.daemon(&settings).await;
    stage.fire(&before).await;
    stage.finished().await;
    before.kill();
    let held = stage.held().await;
    assert!(held.len() > 1, "{held:?}");
    // Its deadline has passed when it is first read.
    stage
        .create_leftover_hold(&stage.jam.sources[0], 0, Timestamp::now())
        .await;

    let unreadable = script(|call| async move {
        if call.uri().path().contains("/remediations") {
            return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "no");
        }
        call.forward().await
    });
    let proxy = Proxy::start(stage.user(), unreadable);
    // Closed are mode, killSwitch and freshness: every standing gate except leadership.
    let stop = json!({"metadata": {"annotations": {STOP_ANNOTATION: "by a person"}}});
    let namespaces: Api<Namespace> = Api::all(stage.testbed.client());
    namespaces
        .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(stop))
        .await
        .unwrap();
    let settings = Settings {
        mode: "plan",
        ..settings
    };
    let daemon = Daemon::start(proxy.kubeconfig(), &settings.yaml()).await;
    // It is running and observes the holds: it removes the one past its deadline, and keeps the other.
    stage
        .until::<SnapshotHold>("the overdue hold to be removed", |all| {
            all.iter().all(|hold| hold.name_any() != "gone")
        })
        .await;
    assert_eq!(stage.held().await, held, "{}", daemon.log_text());
    stage.move_deadline(Timestamp::now()).await;
    stage.released().await;
}
