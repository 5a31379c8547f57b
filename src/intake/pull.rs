//! Reads the alerts that fire from Alertmanager itself, so that a lost webhook loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::Desk;
use crate::causes::causes;
use crate::config::Config;
use crate::leader::Leadership;
use crate::metrics::Own;
use crate::server::{Alert, AlertStatus, Intake, Notification};

/// How long Alertmanager may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// When what failed is asked for again: a leader that has just begun may have seen too little to take an alert.
const SOON: Duration = Duration::from_secs(15);

/// Largest answer that is read, in bytes: some 20,000 alerts.
const MAX_ANSWER: usize = 16 << 20;

/// Why the alerts could not be read.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error("{}", causes(.0))]
    Http(#[from] reqwest::Error),
    #[error("the answer is not a list of alerts: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// One alert of `/api/v2/alerts`, as far as used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GettableAlert {
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    #[serde(default)]
    fingerprint: Option<String>,
}

/// Hands what fires to the desk, when leadership begins and every so often after.
pub fn pull(
    url: &str,
    config: Arc<Config>,
    desk: Desk,
    own: Own,
    mut leadership: Leadership,
) -> impl Future<Output = ()> + use<> {
    // Silenced and inhibited alerts are somebody's wish to be left alone.
    let url = format!(
        "{}/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false",
        url.trim_end_matches('/')
    );
    async move {
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
            let interval = config.alertmanager.interval.0;
            let pause = if taken { interval } else { interval.min(SOON) };
            tokio::time::sleep(pause).await;
        }
    }
}

async fn firing(http: &reqwest::Client, url: &str) -> Result<Notification, PullError> {
    let mut answer = http
        .get(url)
        .timeout(TIMEOUT)
        .send()
        .await?
        .error_for_status()?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(PullError::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    let alerts: Vec<GettableAlert> = serde_json::from_slice(&body)?;
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
