//! Watches: a stream of events as JSON lines, from a revision on.
//!
//! Upstream: `apiserver/pkg/storage/cacher` and `apiserver/pkg/endpoints/handlers/watch.go`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::failure::{Failure, Result};
use super::list::require_reached;
use super::resources::Resource;
use super::selector::Selector;
use super::store::{Change, Event, TooOld};
use super::view::View;

/// Interval of bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Time of the last bookmark before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Default length of a watch.
const DEFAULT_LENGTH: Duration = Duration::from_secs(30 * 60);
/// Annotation of the bookmark after which a streamed list is complete.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Options of a watch.
#[derive(Debug, Default)]
pub struct WatchOptions {
    /// Namespace; all namespaces if `None`.
    pub namespace: Option<String>,
    /// Selected objects.
    pub selector: Selector,
    /// Start after this revision; empty or 0 starts with the existing objects.
    pub version: String,
    /// Whether to send bookmarks.
    pub bookmarks: bool,
    /// Whether to start with the existing objects; if explicitly requested, a bookmark follows them.
    pub initial: Option<bool>,
    /// Length of the watch.
    pub length: Option<Duration>,
}

/// A watch in progress.
struct Watch {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
    options: WatchOptions,
    view: View,
    changes: watch::Receiver<u64>,
    /// Revision of the last event that was read.
    seen: u64,
    lines: VecDeque<Value>,
    headed: bool,
    bookmark_at: Instant,
    end: Instant,
    over: bool,
}

/// Starts a watch.
pub fn watch(
    shared: &Arc<Shared>,
    resource: &Arc<Resource>,
    options: WatchOptions,
    view: View,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
    let mut cluster = shared.lock();
    let revision = cluster.store.revision();
    let from = require_reached(&options.version, revision)?;
    let initial = options.initial.unwrap_or(from == 0);
    let now = Instant::now();
    let length = options.length.unwrap_or(DEFAULT_LENGTH);
    let mut lines = VecDeque::new();
    if initial {
        lines.extend(
            cluster
                .store
                .list(&resource.bucket, options.namespace.as_deref())
                .filter(|o| options.selector.matches(o))
                .map(|o| json!({"type": "ADDED", "object": **o})),
        );
        if options.initial == Some(true) && options.bookmarks {
            lines.push_back(bookmark(resource, revision, true));
        }
    }
    let remembered = cluster.store.remembers(&resource.bucket, from);
    let too_old = remembered.err().filter(|_| !initial && from > 0);
    lines.extend(too_old.map(error));
    let mut watch = Watch {
        changes: cluster.store.subscribe(&resource.bucket),
        shared: shared.clone(),
        resource: resource.clone(),
        view,
        seen: if initial || from == 0 { revision } else { from },
        lines,
        headed: true,
        bookmark_at: now,
        end: now + length,
        over: too_old.is_some(),
        options,
    };
    drop(cluster);
    watch.bookmark_at = watch.next_bookmark(now);
    Ok(futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok(line), watch))
    }))
}

impl Watch {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.lines.is_empty() {
                return Some(self.print());
            }
            if self.over {
                return None;
            }
            // Marked before reading, so that a concurrent write ends the wait below.
            self.changes.mark_unchanged();
            self.read();
            if !self.lines.is_empty() {
                continue;
            }
            let bookmarks = self.options.bookmarks;
            tokio::select! {
                changed = self.changes.changed() => self.over = changed.is_err(),
                () = tokio::time::sleep_until(self.bookmark_at), if bookmarks => self.remind(),
                () = tokio::time::sleep_until(self.end) => self.over = true,
                () = self.shared.stop.cancelled() => self.over = true,
            }
        }
    }

    /// Reads the events since then.
    fn read(&mut self) {
        let shared = self.shared.clone();
        let cluster = shared.lock();
        match cluster.store.since(&self.resource.bucket, self.seen) {
            Err(too_old) => {
                self.lines.push_back(error(too_old));
                self.over = true;
            }
            Ok(events) => {
                for event in events {
                    self.seen = event.revision;
                    self.lines.extend(self.seen_by_selector(event));
                }
            }
        }
    }

    /// The event for this watch: an object that leaves the selection counts as deleted.
    fn seen_by_selector(&self, event: &Event) -> Option<Value> {
        use Change::{Added, Deleted, Modified};
        let selected = |object: &Value| {
            let namespace = self.options.namespace.as_deref();
            namespace.is_none_or(|ns| super::json::Meta::namespace(object) == ns)
                && self.options.selector.matches(object)
        };
        let before = event.previous.as_ref().is_some_and(|o| selected(o));
        let after = event.change != Deleted && selected(&event.object);
        let change = match (before, after) {
            (false, false) => return None,
            (false, true) => Added,
            (true, true) => Modified,
            (true, false) => Deleted,
        };
        let name = match change {
            Added => "ADDED",
            Modified => "MODIFIED",
            Deleted => "DELETED",
        };
        let mut object = Value::clone(&event.object);
        if let (Deleted, Modified, Some(previous)) = (change, event.change, &event.previous) {
            // The last state within the selection, at the revision at which it left.
            object = Value::clone(previous);
            super::json::Json::put(
                &mut object,
                "/metadata/resourceVersion",
                event.revision.to_string(),
            );
        }
        Some(json!({"type": name, "object": object}))
    }

    fn remind(&mut self) {
        let revision = self.shared.lock().store.revision();
        // There are no relevant events since the last read, otherwise the wait would have ended.
        if !self.changes.has_changed().unwrap_or(false) {
            self.lines
                .push_back(bookmark(&self.resource, revision, false));
        }
        self.bookmark_at = self.next_bookmark(Instant::now());
    }

    fn next_bookmark(&self, now: Instant) -> Instant {
        let last = self
            .end
            .checked_sub(BOOKMARK_BEFORE_END)
            .unwrap_or(self.end);
        match now + BOOKMARK_EVERY {
            next if next < last => next,
            _ if now < last => last,
            next => next,
        }
    }

    fn print(&mut self) -> Bytes {
        let now = self.shared.lock().now();
        let mut text = String::new();
        for mut line in self.lines.drain(..) {
            if line["type"] != "ERROR" {
                let object = Arc::new(line["object"].take());
                line["object"] = self.view.event(&self.resource, &object, self.headed, now);
                self.headed = false;
            }
            text += &line.to_string();
            text.push('\n');
        }
        Bytes::from(text)
    }
}

fn error(too_old: TooOld) -> Value {
    json!({"type": "ERROR", "object": Failure::expired(too_old.to_string()).status()})
}

fn bookmark(resource: &Resource, revision: u64, initial: bool) -> Value {
    let mut object = json!({
        "kind": resource.kind,
        "apiVersion": resource.stored_as,
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    });
    if initial {
        object["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
    }
    json!({"type": "BOOKMARK", "object": object})
}
