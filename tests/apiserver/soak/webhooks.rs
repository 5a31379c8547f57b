//! Alertmanagers that send at a high rate to any running replica, and a client that sends malformed requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::daemon::notification;
use crate::support::stage::DRIVER;

use super::replicas::Replicas;

const SENDERS: usize = 2;
/// Time between two notifications of a sender.
const PAUSE: Duration = Duration::from_millis(50);
/// Timeout of a request to a replica that may be killed.
const PATIENCE: Duration = Duration::from_secs(5);

const ALERTS: [&str; 3] = [
    "LocksmithOperationLocked",
    "LocksmithRestoreStuck",
    "LocksmithSnapshotFailed",
];

/// All senders.
pub struct Webhooks {
    answers: Arc<Mutex<BTreeMap<u16, usize>>>,
    over: Arc<AtomicBool>,
    senders: JoinSet<()>,
}

impl Webhooks {
    /// Starts them.
    pub fn start(replicas: &Replicas, mut chance: Rng) -> Self {
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let over = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let sender = Sender {
                addresses: replicas.addresses(),
                answers: answers.clone(),
                over: over.clone(),
                chance: chance.fork(),
            };
            senders.spawn_blocking(move || sender.send());
        }
        Self {
            answers,
            over,
            senders,
        }
    }

    /// Number of responses by status; 0 means no response.
    pub fn answers(&self) -> BTreeMap<u16, usize> {
        self.answers.lock().unwrap().clone()
    }

    /// Ends them.
    pub async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
    }
}

struct Sender {
    addresses: Arc<Mutex<Vec<Option<String>>>>,
    answers: Arc<Mutex<BTreeMap<u16, usize>>>,
    over: Arc<AtomicBool>,
    chance: Rng,
}

impl Sender {
    fn send(mut self) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(PAUSE);
            let alive: Vec<_> = self
                .addresses
                .lock()
                .unwrap()
                .iter()
                .flatten()
                .cloned()
                .collect();
            let Some(address) = self.chance.choice(&alive) else {
                continue;
            };
            let url = format!("http://{address}/webhook");
            let request = agent.post(&url).header("content-type", "application/json");
            let answer = request.send(self.body());
            let code = answer.map_or(0, |answer| answer.status().as_u16());
            *self.answers.lock().unwrap().entry(code).or_default() += 1;
        }
    }

    fn body(&mut self) -> String {
        if self.chance.u32(..20) == 0 {
            return "{\"version\": \"4\", \"alerts\": [".to_owned();
        }
        let alertname = ALERTS[self.chance.usize(..ALERTS.len())];
        let mut body = notification(alertname, &[("driver", DRIVER)]);
        body["alerts"][0]["fingerprint"] = json!(format!("{:016x}", self.chance.u64(..50)));
        body.to_string()
    }
}
