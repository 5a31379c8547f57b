//! A run of the program, read from its Remediation.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::daemon::{Daemon, POLL};
use crate::objects::all;

/// The status of a finished run.
pub struct Run {
    pub status: Value,
}

impl Run {
    /// The only Remediation, once it has finished.
    pub async fn finished(client: &Client, daemon: &Daemon, limit: Duration) -> Self {
        Self::finished_beside(client, daemon, limit, 0).await
    }

    /// The newest Remediation, once it has finished and there are `earlier` others.
    pub async fn finished_beside(
        client: &Client,
        daemon: &Daemon,
        limit: Duration,
        earlier: usize,
    ) -> Self {
        let runs = all(client, "locksmith.dev/v1alpha1", "Remediation");
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let found = runs.list(&Default::default()).await.unwrap().items;
            let over = |run: &DynamicObject| run.data["status"]["finishedAt"].is_string();
            if found.len() > earlier && found.iter().all(over) {
                assert_eq!(found.len(), earlier + 1, "{found:#?}");
                let ended = |run: &&DynamicObject| run.data["status"]["finishedAt"].to_string();
                let run = found.iter().max_by_key(ended).unwrap();
                return Self {
                    status: run.data["status"].clone(),
                };
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not over: {found:#?}\n{}",
                daemon.log_text()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    pub fn phase(&self) -> &str {
        self.status["phase"].as_str().unwrap_or_default()
    }

    /// From the first start of a step to its last end.
    pub fn step(&self, name: &str) -> Option<(Timestamp, Timestamp)> {
        let steps = self.status["steps"].as_array()?;
        let steps: Vec<_> = steps.iter().filter(|step| step["step"] == name).collect();
        let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        Some((
            time(&steps.first()?["startedAt"])?,
            time(&steps.last()?["finishedAt"])?,
        ))
    }

    /// One line with the outcome and the duration of each step.
    pub fn summary(&self) -> String {
        let mut text = self.phase().to_owned();
        for step in self.status["steps"].as_array().into_iter().flatten() {
            let time = |field: &str| {
                step[field]
                    .as_str()
                    .and_then(|text| text.parse::<Timestamp>().ok())
            };
            let took = time("startedAt")
                .zip(time("finishedAt"))
                .map(|(begun, ended)| ended - begun);
            let took = took
                .and_then(|took| took.total(jiff::Unit::Second).ok())
                .unwrap_or_default();
            let phase = step["phase"].as_str().unwrap_or_default();
            let failed = if phase == "Succeeded" {
                String::new()
            } else {
                format!(" {phase}")
            };
            let name = step["step"].as_str().unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(text, "; {name}{failed} {took:.1} s");
        }
        text
    }
}
