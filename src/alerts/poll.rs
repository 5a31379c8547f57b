//! Reads firing alerts from Alertmanager, so that a lost webhook request has no effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::cause::reference;
use super::{Alert, AlertReceiver, AlertStatus, Notification, ReceiveAlerts as _, TestAlertLog};
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

/// Passes the firing alerts to `receiver` when leadership begins, and every `alertmanager.interval` after that.
pub async fn poll(
    http: HttpClient,
    config: Arc<Config>,
    receiver: AlertReceiver,
    own: SelfMetrics,
    test_alerts: TestAlertLog,
    mut leadership: Leadership,
) {
    let mut listed = Listed::new();
    while leadership.begun().await.is_some() {
        let taken = match http.get_json::<Vec<GettableAlert>>(ALERTS).await {
            Ok(alerts) => {
                let (via, now) = (AlertSource::Poll, Timestamp::now());
                if !alerts.is_empty() {
                    own.alert_arrived(via, now);
                }
                let notification = notification(alerts, &mut listed);
                let arrivals = test_alerts.arrivals(&notification.alerts, via, now);
                match receiver.receive(notification).await {
                    Ok(_) => {
                        test_alerts.record(arrivals);
                        true
                    }
                    Err(error) => {
                        tracing::warn!(%error, "polled alerts are not accepted; polling again");
                        false
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read the alerts of Alertmanager");
                false
            }
        };
        own.pulled(taken);
        let interval = config.alertmanager.interval.0;
        let pause = if taken {
            interval
        } else {
            interval.min(POLL_RETRY)
        };
        tokio::time::sleep(pause).await;
    }
}

/// The firing alerts; and as resolved, those that were silenced or are no longer listed. An inhibited alert is neither: it
/// still fires, and a running run inhibits the alerts that started it.
fn notification(alerts: Vec<GettableAlert>, listed: &mut Listed) -> Notification {
    let mut gone = std::mem::take(listed);
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
    Notification {
        group_key: "pull".to_owned(),
        alerts: sent,
        truncated: 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn alert(fingerprint: &str, status: &Value) -> Value {
        json!({
            "labels": {"alertname": "LocksmithRestoreStuck"}, "startsAt": "2026-11-01T02:00:00.5Z",
            "fingerprint": fingerprint, "status": status, "receivers": [{"name": "locksmith"}]
        })
    }

    /// Fingerprints of the firing and of the resolved alerts after Alertmanager lists `alerts`.
    fn sent(alerts: Value, listed: &mut Listed) -> (Vec<String>, Vec<String>) {
        let alerts = serde_json::from_value(alerts).unwrap();
        let (firing, resolved): (Vec<_>, Vec<_>) = notification(alerts, listed)
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
}
