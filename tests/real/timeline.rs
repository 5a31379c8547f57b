//! Times of first occurrence, in seconds since the first hung call.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::monitors::Monitor;

/// Interval of polling the program and Prometheus.
const POLL: Duration = Duration::from_secs(1);

/// First times by event.
#[derive(Default)]
pub struct Timeline(BTreeMap<String, Timestamp>);

impl Timeline {
    /// Adds an event at `time`, unless it occurred earlier.
    pub fn add(&mut self, what: impl Into<String>, time: Timestamp) {
        let first = self.0.entry(what.into()).or_insert(time);
        *first = time.min(*first);
    }

    /// Observes findings, firing alerts and accepted webhooks until `future` is done.
    pub async fn observe<T>(
        &mut self,
        daemon: &Daemon,
        prometheus: &Monitor,
        future: impl Future<Output = T>,
    ) -> T {
        let observed = async {
            loop {
                self.look(daemon, prometheus).await;
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::select! {
            done = future => done,
            () = observed => unreachable!("it observes for ever"),
        }
    }

    async fn look(&mut self, daemon: &Daemon, prometheus: &Monitor) {
        let samples = daemon.metrics().await;
        let now = Timestamp::now();
        for (name, _) in samples.iter().filter(|(_, value)| **value > 0.0) {
            let finding = name.strip_prefix("locksmith_stuck_operations{finding=\"");
            if let Some((finding, _)) = finding.and_then(|rest| rest.split_once('"')) {
                self.add(format!("finding {finding}"), now);
            }
            if name.starts_with("locksmith_forming_locks{") {
                self.add("lock forming", now);
            }
            if name == "locksmith_webhook_requests_total{code=\"202\"}" {
                self.add("webhook accepted", now);
            }
        }
        let alerts: Value = serde_json::from_str(&prometheus.page("/api/v1/alerts").await).unwrap();
        let alerts = alerts["data"]["alerts"].as_array().unwrap();
        for alert in alerts.iter().filter(|alert| alert["state"] == "firing") {
            let name = alert["labels"]["alertname"].as_str().unwrap();
            self.add(format!("{name} fires"), now);
        }
    }

    /// First time of an event.
    pub fn first(&self, what: &str) -> Option<Timestamp> {
        self.0.get(what).copied()
    }

    /// One line, in order, without events before `begin`.
    pub fn since(&self, begin: Timestamp) -> String {
        let mut moments: Vec<_> = self.0.iter().filter(|(_, time)| **time >= begin).collect();
        moments.sort_by_key(|(_, time)| **time);
        let mut text = String::new();
        for (what, time) in moments {
            let separator = if text.is_empty() { "" } else { ", " };
            let seconds = (*time - begin).total(jiff::Unit::Second).unwrap();
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{what} {seconds:.0} s");
        }
        text
    }
}

#[test]
fn timeline_keeps_first_times_in_order() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut timeline = Timeline::default();
    timeline.add("webhook accepted", at(160));
    timeline.add("finding operation_lock", at(110));
    timeline.add("finding operation_lock", at(120));
    timeline.add("finding orphaned_source", at(90));
    assert_eq!(
        timeline.since(at(100)),
        "finding operation_lock 10 s, webhook accepted 60 s"
    );
}
