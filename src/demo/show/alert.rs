//! Replaces Prometheus and Alertmanager: reads the exported metrics, and posts to the webhook.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::plot::Plot;
use super::story;
use crate::run_progress::Line;

/// Interval of scrapes and rule evaluations.
const EVERY: Duration = Duration::from_millis(500);

/// Runs until dropped, or until there is no receiver.
pub(super) async fn run(plot: Plot, speed: f64, address: SocketAddr, lines: mpsc::Sender<Line>) {
    // It is in this process: no proxy in the environment leads to it.
    let Ok(http) = reqwest::Client::builder().no_proxy().build() else {
        return;
    };
    let mut told = false;
    loop {
        tokio::time::sleep(EVERY.div_f64(speed)).await;
        let Some(driver) = firing(&http, plot, address).await else {
            continue;
        };
        if !told {
            told = lines.send(story::alert(plot, &driver)).await.is_ok();
        }
        let taken = post(&http, plot, address, &driver).await;
        if taken && !plot.alert_repeats() {
            return;
        }
    }
}

/// The driver in the alert, if it fires.
async fn firing(http: &reqwest::Client, plot: Plot, address: SocketAddr) -> Option<String> {
    let answer = http.get(format!("http://{address}/api/v1/status"));
    let view: Value = answer.send().await.ok()?.json().await.ok()?;
    // One alert at a time: about what a successful run has left.
    let helped = |run: &Value| run["phase"] == "Succeeded";
    if plot.waits_for_you() && !view["runs"].as_array()?.iter().any(helped) {
        return None;
    }
    let findings = view["findings"].as_array()?;
    let found = findings
        .iter()
        .find(|one| one["finding"] == plot.finding())?;
    Some(found["driver"].as_str()?.to_owned())
}

async fn post(http: &reqwest::Client, plot: Plot, address: SocketAddr, driver: &str) -> bool {
    let labels = json!({"alertname": plot.alertname(), "driver": driver});
    let notification = json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{}\"}}", plot.alertname()),
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "locksmith",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": {},
            "startsAt": Timestamp::now(),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example",
            "fingerprint": "d3a5f0c1b2e49687",
        }],
    });
    let request = http.post(format!("http://{address}/webhook"));
    let answer = request.json(&notification).send().await;
    answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::ACCEPTED)
}
