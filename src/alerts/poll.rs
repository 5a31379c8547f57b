//! Reads firing alerts from Alertmanager, so that a lost webhook request has no effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::recorded_alerts::reference;
use super::{Alert, AlertStatus, Notification, ReceiveAlerts, TestAlertLog};
use crate::cluster::leader::Leadership;
use crate::config::Config;
use crate::http_client::HttpClient;
use crate::metrics::{AlertSource, SelfMetrics};

/// The alerts that are read.
const ALERTS: &str = "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=false";

/// Pause before a failed poll is repeated: a new leader may have observed too little to accept an alert.
const POLL_RETRY: Duration = Duration::from_secs(15);

/// One alert of `/api/v2/alerts`, with only the fields that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GettableAlert {
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    fingerprint: Option<String>,
    #[serde(default)]
    status: GettableStatus,
}

/// The silences and inhibiting alerts that mute it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GettableStatus {
    silenced_by: Vec<String>,
    inhibited_by: Vec<String>,
}

/// The unsilenced alerts of the last poll, by fingerprint and start.
type Listed = BTreeMap<(String, Timestamp), Alert>;

/// Polls Alertmanager, and passes its alerts to `receiver`.
pub struct Poller<R> {
    /// Alertmanager.
    pub http: HttpClient,
    /// Receiver of the alerts.
    pub receiver: R,
    /// Metrics of the polls.
    pub own: SelfMetrics,
    /// Record of test alerts.
    pub test_alerts: TestAlertLog,
}

impl<R: ReceiveAlerts> Poller<R> {
    /// Polls when leadership begins, and every `alertmanager.interval` after that.
    pub async fn run(self, config: Arc<Config>, mut leadership: Leadership) {
        let interval = config.alertmanager.interval.0;
        let mut listed = Listed::new();
        while leadership.begun().await.is_some() {
            let polled = self.poll(&mut listed).await;
            self.own.pulled(polled);
            let pause = if polled {
                interval
            } else {
                interval.min(POLL_RETRY)
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Polls once; returns whether the alerts were accepted. `listed` changes only then, so that the next poll still resolves the
    /// alerts that this one did not.
    async fn poll(&self, listed: &mut Listed) -> bool {
        let alerts = match self.http.get_json::<Vec<GettableAlert>>(ALERTS).await {
            Ok(alerts) => alerts,
            Err(error) => {
                tracing::warn!(%error, "failed to read the alerts of Alertmanager");
                return false;
            }
        };
        let (via, now) = (AlertSource::Poll, Timestamp::now());
        if !alerts.is_empty() {
            self.own.alert_arrived(via, now);
        }
        let (notification, listed_now) = notification(alerts, listed);
        let arrivals = self.test_alerts.arrivals(&notification.alerts, via, now);
        if let Err(error) = self.receiver.receive(notification).await {
            tracing::warn!(%error, "polled alerts are not accepted; polling again");
            return false;
        }
        self.test_alerts.record(arrivals);
        *listed = listed_now;
        true
    }
}

/// The firing alerts; and as resolved, those that are silenced, and those of the last poll that are no longer listed. An
/// inhibited alert is neither: it still fires, and a running run inhibits the alerts that started it.
fn notification(alerts: Vec<GettableAlert>, before: &Listed) -> (Notification, Listed) {
    let mut gone = before.clone();
    let mut listed = Listed::new();
    let mut sent = Vec::new();
    for alert in alerts {
        let GettableStatus {
            silenced_by,
            inhibited_by,
        } = alert.status;
        let silenced = !silenced_by.is_empty();
        let alert = Alert {
            status: if silenced {
                AlertStatus::Resolved
            } else {
                AlertStatus::Firing
            },
            labels: alert.labels,
            starts_at: alert.starts_at,
            fingerprint: alert.fingerprint,
        };
        let id = (reference(&alert).fingerprint, alert.starts_at);
        gone.remove(&id);
        if !silenced {
            listed.insert(id, alert.clone());
        }
        if silenced || inhibited_by.is_empty() {
            sent.push(alert);
        }
    }
    sent.extend(gone.into_values().map(|alert| Alert {
        status: AlertStatus::Resolved,
        ..alert
    }));
    let notification = Notification {
        group_key: "pull".to_owned(),
        alerts: sent,
        truncated: 0,
    };
    (notification, listed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;
    use crate::alerts::{Accepted, Refused};
    use crate::config::Alertmanager;

    fn alert(fingerprint: &str, status: &Value) -> Value {
        json!({
            "labels": {"alertname": "LocksmithRestoreStuck"}, "startsAt": "2026-11-01T02:00:00.5Z",
            "fingerprint": fingerprint, "status": status, "receivers": [{"name": "locksmith"}]
        })
    }

    /// Fingerprints of the firing and of the resolved alerts after Alertmanager lists `alerts`.
    fn sent(alerts: Value, listed: &mut Listed) -> (Vec<String>, Vec<String>) {
        let alerts = serde_json::from_value(alerts).unwrap();
        let (notification, listed_now) = notification(alerts, listed);
        *listed = listed_now;
        let (firing, resolved): (Vec<_>, Vec<_>) = notification
            .alerts
            .into_iter()
            .partition(|alert| alert.status == AlertStatus::Firing);
        let names =
            |alerts: Vec<Alert>| alerts.into_iter().filter_map(|it| it.fingerprint).collect();
        (names(firing), names(resolved))
    }

    #[test]
    fn silenced_or_missing_alert_is_resolved() {
        let active = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
        let silenced = json!({"state": "suppressed", "silencedBy": ["s"], "inhibitedBy": ["i"]});
        let inhibited = json!({"state": "suppressed", "silencedBy": [], "inhibitedBy": ["i"]});
        let names = |names: &[&str]| names.iter().copied().map(str::to_owned).collect::<Vec<_>>();
        let mut listed = Listed::new();
        let first = json!([
            alert("a", &active),
            alert("b", &active),
            alert("c", &active)
        ]);
        assert_eq!(
            sent(first, &mut listed),
            (names(&["a", "b", "c"]), names(&[]))
        );
        let second = json!([alert("a", &silenced), alert("b", &inhibited)]);
        assert_eq!(sent(second, &mut listed), (names(&[]), names(&["a", "c"])));
        let third = json!([alert("a", &active)]);
        assert_eq!(sent(third, &mut listed), (names(&["a"]), names(&["b"])));
    }

    /// Refuses the requests whose numbers it is given, from 0.
    #[derive(Clone, Default)]
    struct Receiver {
        refuses: &'static [usize],
        received: Arc<Mutex<Vec<Notification>>>,
    }

    impl ReceiveAlerts for Receiver {
        async fn receive(&self, notification: Notification) -> Result<Accepted, Refused> {
            let mut received = self.received.lock().unwrap();
            received.push(notification);
            if self.refuses.contains(&(received.len() - 1)) {
                return Err(Refused::Full);
            }
            Ok(Accepted::default())
        }
    }

    #[tokio::test]
    async fn refused_poll_loses_no_resolved_alert() {
        // Installed once per process; another test may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let active = json!({"state": "active", "silencedBy": [], "inhibitedBy": []});
        // Listed at the first poll only.
        let answers = Arc::new(Mutex::new(vec![json!([alert("a", &active)])]));
        let answer = async move || Json(answers.lock().unwrap().pop().unwrap_or(json!([])));
        let router = Router::new().route("/api/v2/alerts", get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alertmanager = Alertmanager {
            url: Some(format!("http://{}", listener.local_addr().unwrap())),
            ..Alertmanager::default()
        };
        tokio::spawn(async { axum::serve(listener, router).await });
        let receiver = Receiver {
            refuses: &[1],
            ..Receiver::default()
        };
        let poller = Poller {
            http: HttpClient::alertmanager(&alertmanager).unwrap(),
            receiver: receiver.clone(),
            own: SelfMetrics::default(),
            test_alerts: TestAlertLog::new(&alertmanager),
        };
        let mut listed = Listed::new();
        for accepted in [true, false, true] {
            assert_eq!(poller.poll(&mut listed).await, accepted);
        }
        let notifications = receiver.received.lock().unwrap();
        let resolved = |notification: &Notification| {
            let alerts = notification.alerts.iter();
            alerts
                .filter(|it| it.status == AlertStatus::Resolved)
                .count()
        };
        let resolved: Vec<_> = notifications.iter().map(resolved).collect();
        assert_eq!(resolved, [0, 1, 1]);
    }
}
