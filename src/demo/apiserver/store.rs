//! Objects by resource, namespace and name, with a common revision counter. Every write becomes an event in a bounded
//! history, from which watches read.
//!
//! It replaces etcd and the watch cache of upstream: `apiserver/pkg/storage`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::json::Json as _;

/// Namespace (empty for cluster-scoped objects) and name, in the order of lists.
pub type Key = (String, String);

/// Kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object was created.
    Added,
    /// The object was changed.
    Modified,
    /// The object was deleted; the event has its last state.
    Deleted,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: u64,
    /// Kind of change.
    pub change: Change,
    /// The object after it (before it, for a deletion), with `revision` as its resourceVersion.
    pub object: Arc<Value>,
    /// The object before it, which shows whether it enters or leaves a selection.
    pub previous: Option<Arc<Value>>,
}

/// The requested events are no longer available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {wanted} ({oldest})")]
pub struct TooOld {
    wanted: u64,
    oldest: u64,
}

impl TooOld {
    fn unless(wanted: u64, oldest: u64) -> Result<(), Self> {
        if wanted < oldest {
            return Err(Self { wanted, oldest });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Bucket {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Event>,
    /// Revision of the latest dropped event.
    forgotten: u64,
    /// Revision of the last write, on which watches wait.
    latest: watch::Sender<u64>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: 0,
            latest: watch::Sender::new(0),
        }
    }
}

/// All objects, in a bucket per resource.
#[derive(Debug)]
pub struct Store {
    buckets: BTreeMap<String, Bucket>,
    revision: u64,
    /// Revision of the last compaction, of all resources.
    compacted: u64,
    remember: usize,
    written: watch::Sender<u64>,
}

impl Store {
    /// An empty store that keeps `remember` events per resource.
    pub fn new(remember: usize) -> Self {
        Self {
            buckets: BTreeMap::new(),
            revision: 1,
            compacted: 0,
            remember,
            written: watch::Sender::new(1),
        }
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, bucket: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.buckets.get(bucket)?.objects.get(&key)
    }

    /// The objects of one namespace, or of all.
    pub fn list<'a>(
        &'a self,
        bucket: &str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        let from = (namespace.unwrap_or_default().to_owned(), String::new());
        self.buckets
            .get(bucket)
            .into_iter()
            .flat_map(move |b| b.objects.range(from.clone()..))
            .take_while(move |((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns))
            .map(|(_, object)| object)
    }

    /// The buckets that contain, or contained, an object.
    pub fn buckets(&self) -> impl Iterator<Item = &str> {
        self.buckets.keys().map(String::as_str)
    }

    /// Stores an object under the next revision, and returns it.
    pub fn put(&mut self, bucket: &str, key: Key, object: Value) -> Arc<Value> {
        let object = self.stamp(object);
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        let previous = bucket.objects.insert(key, object.clone());
        let change = if previous.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        let event = Event {
            revision: self.revision,
            change,
            object: object.clone(),
            previous,
        };
        bucket.record(event, self.remember);
        self.written.send_replace(self.revision);
        object
    }

    /// Removes an object; `last` is its last state.
    pub fn remove(&mut self, bucket: &str, key: &Key, last: Value) -> Arc<Value> {
        let object = self.stamp(last);
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        let previous = bucket.objects.remove(key);
        let event = Event {
            revision: self.revision,
            change: Change::Deleted,
            object: object.clone(),
            previous,
        };
        bucket.record(event, self.remember);
        self.written.send_replace(self.revision);
        object
    }

    fn stamp(&mut self, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object.put("/metadata/resourceVersion", self.revision.to_string());
        Arc::new(object)
    }

    /// Whether a watch can start after a revision.
    pub fn remembers(&self, bucket: &str, revision: u64) -> Result<(), TooOld> {
        let forgotten = self.buckets.get(bucket).map_or(0, |b| b.forgotten);
        TooOld::unless(revision, forgotten.max(self.compacted))
    }

    /// The events of a resource after a revision, oldest first.
    pub fn since(
        &self,
        bucket: &str,
        revision: u64,
    ) -> Result<impl Iterator<Item = &Event> + use<'_>, TooOld> {
        let bucket = self.buckets.get(bucket);
        TooOld::unless(revision, bucket.map_or(0, |b| b.forgotten))?;
        Ok(bucket.into_iter().flat_map(move |b| {
            let from = b.history.partition_point(|e| e.revision <= revision);
            b.history.range(from..)
        }))
    }

    /// Receives the revision of each write to a resource.
    pub fn subscribe(&mut self, bucket: &str) -> watch::Receiver<u64> {
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        bucket.latest.subscribe()
    }

    /// Receives the revision of each write to any resource.
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Drops all events, like a compaction of etcd: a watch cannot start before now.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
        for bucket in self.buckets.values_mut() {
            bucket.forgotten = *bucket.latest.borrow();
            bucket.history.clear();
        }
    }
}

impl Bucket {
    fn record(&mut self, event: Event, remember: usize) {
        let revision = event.revision;
        self.history.push_back(event);
        while self.history.len() > remember {
            if let Some(event) = self.history.pop_front() {
                self.forgotten = event.revision;
            }
        }
        self.latest.send_replace(revision);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json::Meta as _;
    use super::*;

    fn key(ns: &str, name: &str) -> Key {
        (ns.to_owned(), name.to_owned())
    }

    #[test]
    fn list_is_sorted_and_limited_to_the_namespace() {
        let mut store = Store::new(10);
        for (ns, name) in [("b", "y"), ("a", "z"), ("b", "x"), ("c", "w")] {
            store.put("pods", key(ns, name), json!({"metadata": {"name": name}}));
        }
        let names: Vec<_> = store.list("pods", Some("b")).map(|o| o.name()).collect();
        assert_eq!(names, ["x", "y"]);
        assert_eq!(store.list("pods", None).count(), 4);
    }

    #[test]
    fn history_is_bounded_and_reports_dropped_events() {
        let mut store = Store::new(2);
        let start = store.revision();
        for name in ["a", "b", "c"] {
            store.put("pods", key("", name), json!({}));
        }
        assert!(store.since("pods", start).is_err());
        let seen: Vec<_> = store
            .since("pods", start + 1)
            .expect("remembered")
            .map(|e| e.revision)
            .collect();
        assert_eq!(seen, [start + 2, start + 3]);
        assert!(
            store.since("other", 0).is_ok(),
            "nothing happened, nothing forgotten"
        );
    }
}
