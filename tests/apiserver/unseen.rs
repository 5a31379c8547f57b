//! Remediations that cannot be read are not Remediations that are gone: what they hold stays held until its deadline.

use axum::http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use locksmith::api::volsync::ReplicationSource;
use locksmith::holds::HOLD_ANNOTATION;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::proxy::{Proxy, script, status};
use crate::stage::{Settings, Stage, is_held};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn holds_of_runs_that_cannot_be_read_last_until_their_deadline() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        deadline: "30s",
        ..Settings::default()
    };
    let mut before = stage.daemon(&settings).await;
    stage.fire(&before).await;
    stage.finished().await;
    before.kill();
    let sources = stage.list::<ReplicationSource>().await;
    let due = sources.iter().filter(|one| is_held(*one)).map(|held| {
        let mark: Value = serde_json::from_str(&held.annotations()[HOLD_ANNOTATION]).unwrap();
        mark["until"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    });
    let first_due = due.min().expect("something is held");
    assert!(Timestamp::now() < first_due, "too late to see anything");

    let unreadable = script(|call| async move {
        if call.uri().path().contains("/remediations") {
            return status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "no");
        }
        call.forward().await
    });
    let proxy = Proxy::start(stage.user(), unreadable).await;
    let daemon = Daemon::start(proxy.kubeconfig(), &settings.yaml()).await;
    stage
        .until::<ReplicationSource>("the first to be released", |all| {
            let free = all.iter().filter(|one| !is_held(&***one)).count();
            free > sources.iter().filter(|one| !is_held(*one)).count()
        })
        .await;
    assert!(Timestamp::now() >= first_due, "{}", daemon.log_text());
    stage.released().await;
}
