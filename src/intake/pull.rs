//! Reads the alerts that fire from Alertmanager itself, so that a lost webhook loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::Desk;
use crate::config::Config;
use crate::leader::Leadership;
use crate::metrics::Own;
use crate::server::{Alert, AlertStatus, Intake, Notification};

/// How long Alertmanager may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One alert of `/api/v2/alerts`, as far as used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GettableAlert {
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    fingerprint: String,
}

/// Hands what fires to the desk, when leadership begins and every so often after.
pub async fn pull(config: Arc<Config>, desk: Desk, own: Own, mut leadership: Leadership) {
    let Some(url) = &config.alertmanager.url else {
        return;
    };
    // Silenced and inhibited alerts are somebody's wish to be left alone.
    let url = format!(
        "{}/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false",
        url.trim_end_matches('/')
    );
    let http = reqwest::Client::new();
    while leadership.begun().await.is_some() {
        let taken = match firing(&http, &url).await {
            Ok(notification) => desk
                .submit(notification)
                .await
                .inspect_err(|error| {
                    tracing::warn!(%error, "alerts that were pulled are not taken; asked again");
                })
                .is_ok(),
            Err(error) => {
                tracing::warn!(%error, "failed to read the alerts of Alertmanager");
                false
            }
        };
        own.pulled(taken);
        tokio::time::sleep(config.alertmanager.interval.0).await;
    }
}

async fn firing(http: &reqwest::Client, url: &str) -> Result<Notification, reqwest::Error> {
    let answer = http
        .get(url)
        .timeout(TIMEOUT)
        .send()
        .await?
        .error_for_status()?;
    let alerts: Vec<GettableAlert> = answer.json().await?;
    let alerts = alerts.into_iter().map(|alert| Alert {
        status: AlertStatus::Firing,
        labels: alert.labels,
        starts_at: alert.starts_at,
        fingerprint: alert.fingerprint,
    });
    Ok(Notification {
        group_key: "pull".to_owned(),
        alerts: alerts.collect(),
        truncated: 0,
    })
}
