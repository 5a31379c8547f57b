//! Alerts of another cluster start nothing, whether they are sent or polled.

use axum::routing::get;
use axum::{Json, Router};
use locksmith::api::StepName;
use locksmith::api::remediation::Remediation;
use serde_json::json;

use crate::support::stage::{DRIVER, Settings, Stage};

const FOREIGN: &str = "locksmith_webhook_alerts_total{playbook=\"\",outcome=\"other_cluster\"}";

/// Address of an Alertmanager in which the same alert fires for two clusters.
async fn alertmanager() -> String {
    let alert = |cluster: &str| {
        json!({
            "labels": {"alertname": "LocksmithOperationLocked", "driver": DRIVER, "cluster": cluster},
            "annotations": {},
            "startsAt": "2026-11-01T02:00:00Z",
            "endsAt": "2026-11-01T03:00:00Z",
            "updatedAt": "2026-11-01T02:00:00Z",
            "fingerprint": cluster,
            "receivers": [{"name": "locksmith"}],
            "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
        })
    };
    let alerts = json!([alert("office"), alert("home")]);
    let router = Router::new().route("/api/v2/alerts", get(async || Json(alerts)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn settings(url: &str) -> Settings {
    Settings {
        mode: "plan",
        alertmanager: format!("{{url: {url}, require: ['cluster=\"home\"']}}"),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn webhook_about_another_cluster_starts_nothing() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&settings("null")).await;
    assert!(daemon.metrics().await[FOREIGN].abs() < f64::EPSILON);
    let alert = "LocksmithOperationLocked";
    let unnamed = [("driver", DRIVER)];
    let office = [("driver", DRIVER), ("cluster", "office")];
    for labels in [&unnamed[..], &office] {
        let (code, answer) = daemon.fire(alert, labels).await;
        let expected = json!({"remediations": [], "ignored": 0, "otherCluster": 1});
        assert_eq!((code, answer), (202, expected));
    }
    assert!((daemon.metrics().await[FOREIGN] - 2.0).abs() < f64::EPSILON);
    assert!(stage.list::<Remediation>().await.is_empty());

    let (code, answer) = daemon
        .fire(alert, &[("driver", DRIVER), ("cluster", "home")])
        .await;
    assert_eq!(
        (code, &answer["otherCluster"]),
        (202, &json!(0)),
        "{answer}"
    );
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn polled_alerts_of_another_cluster_start_nothing() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&settings(&alertmanager().await)).await;
    daemon
        .until("the other cluster's alert to be refused", |samples| {
            samples.get(FOREIGN).is_some_and(|count| *count >= 1.0)
        })
        .await;
    let status = stage.finished().await;
    assert!(
        status
            .plan
            .unwrap()
            .step(StepName::SuspendSources)
            .is_some()
    );
    let runs = stage.list::<Remediation>().await;
    let asked: Vec<_> = runs
        .iter()
        .flat_map(|run| &run.spec.trigger.alerts)
        .map(|alert| &*alert.fingerprint)
        .collect();
    assert_eq!(asked, ["home"]);
}
