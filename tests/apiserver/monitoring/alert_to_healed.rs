//! From the jam to its end without human action: Prometheus, Alertmanager and the program, each as shipped.

use std::time::Instant;

use locksmith::api::remediation::{Phase, Remediation, RemediationStatus};
use serde_json::Value;

use crate::support::load_balancer::Balancer;
use crate::support::monitors::{Monitor, Places};
use crate::support::stage::{DRIVER, Rights, Settings, Setup, Stage, lacks_right};
use crate::testbed::figure;

/// The playbook of the jam.
const PLAYBOOK: &str = "csi-operation-locks";

/// The alerts that start it.
const ASKING: [&str; 2] = ["LocksmithOperationLocked", "LocksmithRestoreStuck"];

fn over(status: &RemediationStatus) -> bool {
    status.phase.finished()
}

/// Name of an alert.
fn name(alert: &Value) -> &str {
    alert["labels"]["alertname"].as_str().unwrap()
}

/// Asserts that alerts of the shipped rules started the run.
fn asked_by_alerts(run: &Remediation) {
    assert_eq!(&*run.spec.driver, DRIVER);
    let alerts = &run.spec.trigger.alerts;
    // The alert about snapshots requires less, and joins the run that does everything.
    let joins = |name: &str| ASKING.contains(&name) || name == "LocksmithSnapshotFailed";
    assert!(
        alerts
            .iter()
            .any(|alert| ASKING.contains(&&*alert.alertname)),
        "{alerts:?}"
    );
    assert!(
        alerts.iter().all(|alert| joins(&alert.alertname)),
        "{alerts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn jam_fires_its_alert_and_is_healed() {
    let begun = Instant::now();
    let stage = Stage::jammed_with(Setup {
        rights: Rights::Installed("act"),
        ..Setup::default()
    })
    .await;
    let settings = Settings::default();
    let leader = stage.daemon(&settings).await;
    let standby = stage.standby(&settings).await;
    let service = Balancer::start(&[&standby, &leader]).await;
    let places = Places::new();
    let alertmanager = Monitor::alertmanager(&places, &service.url("/webhook")).await;
    let prometheus = Monitor::prometheus(&places, &[leader.address(), standby.address()]).await;
    let scraped = Instant::now();

    let firing = r#"ALERTS{alertname="LocksmithOperationLocked", alertstate="firing"}"#;
    prometheus.until(firing, true).await;
    let fired = Instant::now();
    let alerts = alertmanager
        .alerts_until("the alert", |alerts| {
            alerts.iter().any(|alert| name(alert) == ASKING[0])
        })
        .await;
    for alert in &alerts {
        assert_eq!(alert["labels"]["cluster"], "home", "{alert:#}");
        assert!(
            !alert["annotations"].to_string().contains("<error"),
            "{alert:#}"
        );
    }

    let run = stage.run_of(PLAYBOOK, "the run to be over", over).await;
    let healed = Instant::now();
    let status = run.status.as_ref().unwrap();
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    asked_by_alerts(&run);
    stage.pending_are_bound().await;

    for alert in ASKING {
        let stands = format!("ALERTS{{alertname=\"{alert}\"}}");
        prometheus.until(&stands, false).await;
    }
    alertmanager
        .alerts_until("the alerts to be resolved", |alerts| {
            !alerts.iter().any(|alert| ASKING.contains(&name(alert)))
        })
        .await;
    let resolved = Instant::now();
    // Also visible outside: the counters of accepted alerts and of cleared findings.
    prometheus
        .until(r#"locksmith_webhook_requests_total{code="202"} > 0"#, true)
        .await;
    let cleared = r#"locksmith_stuck_duration_seconds_count{finding="pending_claim"} >= 4"#;
    prometheus.until(cleared, true).await;
    assert!(!stage.everything().await.iter().any(lacks_right));
    figure(&format!(
        "memory after the run: leader {} MiB, standby {} MiB",
        leader.resident("VmRSS") / 1024,
        standby.resident("VmRSS") / 1024
    ));
    figure(&format!(
        "jam to alert to healed to resolved: jam set in {:.1?}, scraped to fired {:.1?}, fired to healed {:.1?}, healed to resolved {:.1?}; in all {:.1?}",
        scraped - begun,
        fired - scraped,
        healed - fired,
        resolved - healed,
        begun.elapsed()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Alertmanager: ./tests/run"]
async fn run_inhibits_only_alerts_about_its_driver() {
    let alertmanager = Monitor::alertmanager(&Places::new(), "http://127.0.0.1:9/webhook").await;
    let (mended, other) = (format!("driver={DRIVER}"), "driver=other.csi.example");
    alertmanager.fire("LocksmithRunInProgress", &[&mended, "severity=info"]);
    alertmanager.fire(ASKING[0], &[&mended, "severity=critical"]);
    alertmanager.fire(ASKING[1], &[&mended, "severity=critical"]);
    alertmanager.fire(ASKING[0], &[other, "severity=critical"]);
    alertmanager.fire("LocksmithRunFailed", &[&mended, "severity=critical"]);
    let judged = |alerts: &[Value]| {
        let state = |alert: &Value| alert["status"]["state"] == "unprocessed";
        alerts.len() == 5 && !alerts.iter().any(state)
    };
    let alerts = alertmanager.alerts_until("all five", judged).await;
    let run = alerts
        .iter()
        .find(|one| name(one) == "LocksmithRunInProgress");
    let run = &run.unwrap()["fingerprint"];
    for alert in &alerts {
        let asks = ASKING.contains(&name(alert)) && alert["labels"]["driver"] == DRIVER;
        let inhibited_by = alert["status"]["inhibitedBy"].as_array().unwrap();
        let expected: Vec<_> = asks.then(|| run.clone()).into_iter().collect();
        assert_eq!(*inhibited_by, expected, "{alert:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn lost_webhooks_are_polled_and_silences_respected() {
    let stage = Stage::jammed().await;
    let places = Places::new();
    let nowhere = "http://127.0.0.1:9/webhook";
    let alertmanager = Monitor::alertmanager(&places, nowhere).await;
    let silence = alertmanager.amtool(&[
        "silence",
        "add",
        "--author=test",
        "--comment=left alone",
        "alertname=~Locksmith.+",
    ]);
    let url = places.alertmanager();
    let settings = Settings {
        alertmanager: format!("{{url: '{url}', interval: 1s}}"),
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let _prometheus = Monitor::prometheus(&places, &[daemon.address()]).await;
    alertmanager
        .alerts_until("the alerts to be silenced", |alerts| {
            let of = |asking: &&str| {
                let mut alerts = alerts.iter();
                alerts.any(|one| name(one) == *asking && one["status"]["state"] == "suppressed")
            };
            ASKING.iter().all(of)
        })
        .await;
    let pulls = r#"locksmith_alertmanager_polls_total{outcome="ok"}"#;
    let before = daemon.metrics().await[pulls];
    daemon
        .until("three more pulls", |metrics| metrics[pulls] >= before + 3.0)
        .await;
    assert!(stage.list::<Remediation>().await.is_empty());

    alertmanager.amtool(&["silence", "expire", &silence]);
    let run = stage.run_of(PLAYBOOK, "the run to be over", over).await;
    assert_eq!(run.status.as_ref().unwrap().phase, Phase::Succeeded);
    asked_by_alerts(&run);
    let webhooks = daemon.metrics().await["locksmith_webhook_requests_total{code=\"202\"}"];
    assert!(webhooks.abs() < f64::EPSILON, "{webhooks} webhooks");
}
