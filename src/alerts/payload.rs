//! Parses notifications of Alertmanager and of Grafana: bytes in, a [`Notification`] or an error out. Pure.
//!
//! Alertmanager's `notify/webhook` sends version 4; Grafana's own alerting sends the same shape as version 1, with more
//! fields. Fields not named here are ignored, the status of the group among them: it is `firing` as long as any alert is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// Supported versions of the payload: Alertmanager's and Grafana's.
const VERSIONS: [&str; 2] = ["4", "1"];

/// One notification about one group of alerts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Identity of the group.
    pub group_key: String,
    /// The alerts, firing and resolved.
    pub alerts: Vec<Alert>,
    /// Number of alerts that were left out. An alert that is missing here may still fire.
    #[serde(default, rename = "truncatedAlerts")]
    pub truncated: u64,
}

/// One alert.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Whether it fires.
    pub status: AlertStatus,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Time since which it fires or, if it is resolved, fired.
    pub starts_at: Timestamp,
    /// Alertmanager's hash of the labels; before 0.19 it sends none.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// It fires.
    Firing,
    /// It no longer fires.
    Resolved,
}

/// Why a body is not a valid notification.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// Another version of the payload.
    #[error("the payload version is {0}; supported are \"4\" of Alertmanager and \"1\" of Grafana")]
    Version(String),
    /// A field is missing or has a value of the wrong kind.
    #[error("{path}: {problem}")]
    Field {
        /// Path of the field, such as `alerts[0].startsAt`, or `payload` for the whole body.
        path: String,
        /// The error.
        problem: String,
    },
}

/// Reads the body of a request.
pub fn parse(body: &[u8]) -> Result<Notification, PayloadError> {
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| PayloadError::Syntax(error.to_string()))?;
    match value.get("version") {
        Some(version) if VERSIONS.iter().any(|known| version == known) => {}
        Some(other) => return Err(PayloadError::Version(other.to_string())),
        None => return Err(PayloadError::Version("missing".to_owned())),
    }
    serde_path_to_error::deserialize(value).map_err(|error| PayloadError::Field {
        path: match error.path().to_string() {
            whole if whole == "." => "payload".to_owned(),
            path => path,
        },
        problem: error.inner().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn payload() -> Value {
        json!({
            "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 3, "status": "firing", "receiver": "locksmith",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
            "alerts": [{
                "status": "resolved", "labels": {"alertname": "LocksmithRestoreStuck"}, "annotations": {},
                "startsAt": "2026-11-01T02:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus", "fingerprint": "a1b2"
            }]
        })
    }

    #[test]
    fn notification_of_alertmanager_is_parsed() {
        let notification = parse(payload().to_string().as_bytes()).unwrap();
        assert_eq!(notification.truncated, 3);
        assert_eq!(notification.group_key, "{}:{}");
        let [alert] = &notification.alerts[..] else {
            panic!("one alert")
        };
        assert_eq!(alert.status, AlertStatus::Resolved);
        assert_eq!(alert.labels["alertname"], "LocksmithRestoreStuck");
        assert_eq!(alert.starts_at, "2026-11-01T02:00:00.5Z".parse().unwrap());
        assert_eq!(alert.fingerprint.as_deref(), Some("a1b2"));
    }

    /// Case 17. grafana.com, "webhook notifier", v9.3 to latest.
    #[test]
    fn notification_of_grafana_is_parsed() {
        let mut payload = payload();
        let more = json!({"version": "1", "orgId": 1, "title": "[FIRING:1]", "state": "alerting", "message": "**Firing**"});
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let more = json!({"silenceURL": "x", "dashboardURL": "", "panelURL": "", "values": {"B": 1}, "valueString": "[ ]"});
        payload["alerts"][0]
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let notification = parse(payload.to_string().as_bytes()).unwrap();
        assert_eq!(notification.alerts.len(), 1);
    }

    /// Case 18. Alertmanager before 0.19 (prometheus/alertmanager #2227).
    #[test]
    fn missing_fingerprint_is_accepted() {
        let mut payload = payload();
        payload["alerts"][0]
            .as_object_mut()
            .unwrap()
            .remove("fingerprint");
        let notification = parse(payload.to_string().as_bytes()).unwrap();
        assert_eq!(notification.alerts[0].fingerprint, None);
    }

    #[test]
    fn missing_truncation_count_is_accepted() {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove("truncatedAlerts");
        assert_eq!(parse(payload.to_string().as_bytes()).unwrap().truncated, 0);
    }

    #[rstest]
    #[case("/version", json!("3"), "version is \"3\"")]
    #[case("/version", json!(4), "version is 4")]
    #[case("/alerts", json!(null), "alerts: invalid type: null")]
    #[case("/alerts/0/status", json!("pending"), "alerts[0].status: unknown variant `pending`")]
    #[case("/alerts/0/startsAt", json!("today"), "alerts[0].startsAt: ")]
    #[case("/alerts/0/labels", json!({"a": 1}), "alerts[0].labels.a: invalid type")]
    fn payload_error_names_the_field(
        #[case] field: &str,
        #[case] value: Value,
        #[case] says: &str,
    ) {
        let mut payload = payload();
        *payload.pointer_mut(field).unwrap() = value;
        let error = parse(payload.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }

    #[rstest]
    #[case("", "not JSON")]
    #[case("[]", "version is missing")]
    #[case("{}", "version is missing")]
    #[case(r#"{"version": "4"}"#, "payload: missing field `groupKey`")]
    fn payload_of_another_kind_is_refused(#[case] body: &str, #[case] says: &str) {
        let error = parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
