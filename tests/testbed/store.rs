//! Resets etcd to the objects of an unused control plane.
//!
//! A control plane takes seconds of both cores to start. Removing a test's objects from etcd takes milliseconds. The API server
//! and the controllers see it in their watches, like any other deletion.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// Operations in one transaction, below etcd's default limit of 128.
const BATCH: usize = 100;
/// Pause before the store is read again: no event marks the end of the controllers' reactions.
const SETTLED: Duration = Duration::from_millis(200);
/// Rounds after which the control plane is discarded.
const MAX_ROUNDS: usize = 50;

/// Prefix of all keys.
const ROOT: &[u8] = b"/registry/";
/// The first key after them.
const END: &[u8] = b"/registry0";

/// Prefixes of keys that servers renew all the time; ignored.
const RENEWED: [&str; 3] = [
    "/registry/leases/kube-system/",
    "/registry/leases/kube-node-lease/",
    "/registry/masterleases/",
];
/// Prefix of the CRDs. If they differ, the control plane is discarded: its API server already serves other kinds.
const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/";
/// Owners first: their controllers would replace what is deleted before them.
const OWNERS: [&str; 6] = [
    "/registry/cronjobs/",
    "/registry/jobs/",
    "/registry/deployments/",
    "/registry/statefulsets/",
    "/registry/daemonsets/",
    "/registry/replicasets/",
];

/// The objects of a control plane that no test has used yet.
pub struct Baseline {
    entries: HashMap<String, Entry>,
}

struct Entry {
    revision: String,
    /// In base64, as etcd's gateway has it.
    value: String,
}

/// etcd's JSON gateway.
pub struct Store {
    url: String,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: String,
}

impl Store {
    pub fn new(url: String) -> Self {
        Self { url }
    }

    /// Stores objects under their keys, as the API server would after it had accepted them.
    #[allow(dead_code, reason = "called by benches alone")]
    pub fn put(&self, objects: Vec<(String, Value)>) {
        let operations: Vec<Value> = objects
            .into_iter()
            .map(|(key, object)| put(&key, &STANDARD.encode(object.to_string())))
            .collect();
        for batch in operations.chunks(BATCH) {
            self.post("kv/txn", &json!({ "success": batch }));
        }
    }

    /// The objects that are stored now.
    pub fn baseline(&self) -> Baseline {
        let entries = self.range(false).into_iter();
        let entries = entries.map(|(key, revision, value)| (key, Entry { revision, value }));
        Baseline {
            entries: entries.collect(),
        }
    }

    /// Removes and restores objects until only the baseline is stored; false if that fails.
    pub async fn reset(&self, baseline: &mut Baseline) -> bool {
        for _ in 0..MAX_ROUNDS {
            let now = self.range(true);
            let Some(operations) = baseline.operations(&now) else {
                return false;
            };
            if operations.is_empty() {
                return true;
            }
            for batch in operations.chunks(BATCH) {
                self.post("kv/txn", &json!({ "success": batch }));
            }
            baseline.restored(self.range(true));
            tokio::time::sleep(SETTLED).await;
        }
        false
    }

    /// Key, revision of its last change, and value unless only the keys are asked for.
    fn range(&self, keys_only: bool) -> Vec<(String, String, String)> {
        let request = json!({
            "key": STANDARD.encode(ROOT), "range_end": STANDARD.encode(END), "keys_only": keys_only,
        });
        let answer = self.post("kv/range", &request);
        let range: Range = serde_json::from_value(answer).expect("etcd answers as documented");
        let entry = |pair: KeyValue| {
            let key = STANDARD.decode(pair.key).expect("keys are in base64");
            let key = String::from_utf8(key).expect("keys are paths");
            (key, pair.mod_revision, pair.value)
        };
        let mut entries: Vec<_> = range.kvs.into_iter().map(entry).collect();
        entries.retain(|(key, ..)| !RENEWED.iter().any(|renewed| key.starts_with(renewed)));
        entries
    }

    fn post(&self, path: &str, request: &Value) -> Value {
        let mut answer = ureq::post(format!("{}/v3/{path}", self.url))
            .send(request.to_string())
            .expect("etcd answers");
        let text = answer.body_mut().with_config().limit(u64::MAX);
        serde_json::from_str(&text.read_to_string().expect("etcd answers in full"))
            .expect("etcd answers in JSON")
    }
}

impl Baseline {
    /// The deletions, owners first, and the restorations that are necessary; `None` if CRDs differ.
    fn operations(&self, now: &[(String, String, String)]) -> Option<Vec<Value>> {
        let mut deletions: Vec<&String> = Vec::new();
        let mut operations = Vec::new();
        let mut present = 0;
        for (key, revision, _) in now {
            match self.entries.get(key) {
                Some(entry) if entry.revision == *revision => present += 1,
                _ if key.starts_with(DEFINITIONS) => return None,
                Some(entry) => {
                    present += 1;
                    operations.push(put(key, &entry.value));
                }
                None => deletions.push(key),
            }
        }
        if present < self.entries.len() {
            let stored = |key: &String| now.iter().any(|(stored, ..)| stored == key);
            for (key, entry) in self.entries.iter().filter(|(key, _)| !stored(key)) {
                if key.starts_with(DEFINITIONS) {
                    return None;
                }
                operations.push(put(key, &entry.value));
            }
        }
        let owner = |key: &String| !OWNERS.iter().any(|owner| key.starts_with(owner));
        deletions.sort_by_key(|key| owner(key));
        let deletions = deletions
            .into_iter()
            .map(|key| json!({"request_delete_range": {"key": STANDARD.encode(key)}}));
        Some(deletions.chain(operations).collect())
    }

    /// Adopts the revisions of restored objects.
    fn restored(&mut self, now: Vec<(String, String, String)>) {
        for (key, revision, _) in now {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.revision = revision;
            }
        }
    }
}

fn put(key: &str, value: &str) -> Value {
    json!({"request_put": {"key": STANDARD.encode(key), "value": value}})
}
