//! `locksmith test-alert` with a real Alertmanager and two replicas.
//!
//! Set-up: a leader that polls Alertmanager every second, a standby, and the shipped route. Asserted:
//! 1. the alert arrives at the webhook of the leader, starts no run, and is resolved at the end;
//! 2. a route to the standby, a silence and a missing route are each found, with exit code 2;
//! 3. without a route, an alert that is polled exits with 1.

use std::path::Path;

use locksmith::api::remediation::Remediation;
use serde_json::{Value, json};

use crate::shipped::text;
use crate::support::command::{locksmith, said};
use crate::support::daemon::Daemon;
use crate::support::monitors::{Monitor, Places};
use crate::support::stage::{Settings, Stage};

/// Accepted alerts of the cluster in the shipped route, polled at this interval.
fn settings(places: &Places, interval: &str) -> Settings {
    Settings {
        alertmanager: format!(
            "{{url: '{}', interval: {interval}, require: ['cluster=\"home\"']}}",
            places.alertmanager()
        ),
        ..Settings::default()
    }
}

/// Exit code and result of a test at this replica.
async fn tested(daemon: &Daemon, config: &Path, timeout: &str) -> (i32, Value) {
    let (url, config) = (daemon.url(""), config.to_str().unwrap());
    let args = [
        "test-alert",
        "--config",
        config,
        "--url",
        &url,
        "--timeout",
        timeout,
        "-o",
        "json",
    ];
    let output = locksmith(Path::new("/nowhere"), &args).await;
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    assert!(output.stderr.is_empty(), "{}", said(&output));
    (output.status.code().unwrap(), report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn test_alert_proves_the_route_and_starts_nothing() {
    let stage = Stage::jammed().await;
    let places = Places::new();
    let polling = settings(&places, "1s");
    let leader = stage.daemon(&polling).await;
    let standby = stage.standby(&polling).await;
    let directory = tempfile::tempdir().unwrap();
    let config = |name: &str, interval: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, settings(&places, interval).yaml()).unwrap();
        path
    };
    let (polled, unpolled) = (config("polled.yaml", "1s"), config("unpolled.yaml", "5m"));

    let alertmanager = Monitor::alertmanager(&places, &leader.url("/webhook")).await;
    let (code, report) = tested(&leader, &polled, "1m").await;
    assert_eq!(
        (code, &report["result"]),
        (0, &json!("received")),
        "{report:#}"
    );
    assert_eq!(report["via"], "webhook", "{report:#}");
    assert_eq!(report["replica"], "locksmith-0", "{report:#}");
    assert_eq!(report["receivers"], json!(["locksmith-home", "nobody"]));
    alertmanager
        .alerts_until("the test alert to be resolved", <[Value]>::is_empty)
        .await;
    let counted = "locksmith_webhook_alerts_total{playbook=\"\",outcome=\"test\"}";
    assert!(leader.metrics().await[counted] >= 1.0);
    drop(alertmanager);

    let alertmanager = Monitor::alertmanager(&places, &standby.url("/webhook")).await;
    let (code, report) = tested(&standby, &unpolled, "15s").await;
    assert_eq!(
        (code, &report["result"]),
        (2, &json!("refused")),
        "{report:#}"
    );
    assert!(
        report["found"].as_str().unwrap().contains("503"),
        "{report:#}"
    );
    let silence = [
        "silence",
        "add",
        "--author=test",
        "--comment=x",
        "alertname=LocksmithTest",
    ];
    let silence = alertmanager.amtool(&silence);
    let (code, report) = tested(&standby, &unpolled, "1m").await;
    assert_eq!(
        (code, &report["result"]),
        (2, &json!("muted")),
        "{report:#}"
    );
    assert!(
        report["found"].as_str().unwrap().contains(&silence),
        "{report:#}"
    );
    drop(alertmanager);

    let shipped = text("alerts/alertmanager.yaml");
    let elsewhere = shipped.replace("receiver: locksmith-home", "receiver: pager");
    let _alertmanager = Monitor::configured(&places, &elsewhere).await;
    let (code, report) = tested(&standby, &unpolled, "1m").await;
    assert_eq!(
        (code, &report["result"]),
        (2, &json!("no-route")),
        "{report:#}"
    );
    let (code, report) = tested(&leader, &polled, "1m").await;
    assert_eq!(
        (code, &report["result"]),
        (1, &json!("only-polled")),
        "{report:#}"
    );
    assert_eq!(report["via"], "poll", "{report:#}");

    let runs = stage.list::<Remediation>().await;
    assert!(runs.is_empty(), "{runs:#?}");
}
