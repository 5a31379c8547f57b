//! Lists: selected objects of a resource at one revision, in pages.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::failure::{Failure, Result};
use super::resources::Resource;
use super::selector::Selector;

/// Maximum number of unfinished lists; upstream keeps them until etcd is compacted.
const REMEMBERED: usize = 64;

/// Options of a list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Selected objects.
    pub selector: Selector,
    /// Page size; 0 means all.
    pub limit: usize,
    /// Continue token.
    pub continues: String,
    /// Minimum revision; empty or 0 means any.
    pub version: String,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The stored objects.
    pub items: Vec<Arc<Value>>,
    /// The list's metadata.
    pub metadata: Value,
}

/// Snapshots of lists that did not fit one page, so that later pages show the same revision.
#[derive(Debug, Default)]
pub struct Pages {
    open: VecDeque<Snapshot>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Snapshot {
    id: u64,
    revision: u64,
    items: Arc<[Arc<Value>]>,
    counted: bool,
}

impl Cluster {
    /// One page of a list.
    pub fn list(
        &mut self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Page> {
        if !options.continues.is_empty() {
            return self.pages.next(&options.continues, options.limit);
        }
        require_reached(&options.version, self.store.revision())?;
        let items: Arc<[_]> = self
            .store
            .list(&resource.bucket, namespace)
            .filter(|o| options.selector.matches(o))
            .cloned()
            .collect();
        let snapshot = Snapshot {
            id: 0,
            revision: self.store.revision(),
            items,
            counted: options.selector.is_empty(),
        };
        Ok(self.pages.page(snapshot, 0, options.limit))
    }
}

/// Refuses a revision in the future.
pub fn require_reached(version: &str, revision: u64) -> Result<u64> {
    if version.is_empty() {
        return Ok(0);
    }
    let wanted: u64 = version.parse().map_err(|_| {
        Failure::bad_request(format!(
            "Invalid value: {version:?}: invalid resource version"
        ))
    })?;
    if wanted > revision {
        return Err(Failure::version_too_large(wanted, revision));
    }
    Ok(wanted)
}

impl Pages {
    fn next(&mut self, token: &str, limit: usize) -> Result<Page> {
        let invalid = || Failure::bad_request("continue key is not valid");
        let (id, start) = token.split_once('.').ok_or_else(invalid)?;
        let id: u64 = id.parse().map_err(|_| invalid())?;
        let start: usize = start.parse().map_err(|_| invalid())?;
        let snapshot = self.open.iter().find(|s| s.id == id).cloned();
        let snapshot = snapshot.ok_or_else(|| {
            Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a \
                 new list without the continue parameter.",
            )
        })?;
        Ok(self.page(snapshot, start, limit))
    }

    fn page(&mut self, mut snapshot: Snapshot, start: usize, limit: usize) -> Page {
        let total = snapshot.items.len();
        let start = start.min(total);
        let end = match limit {
            0 => total,
            limit => total.min(start.saturating_add(limit)),
        };
        let mut metadata = json!({"resourceVersion": snapshot.revision.to_string()});
        let items = snapshot.items[start..end].to_vec();
        if end < total {
            if snapshot.id == 0 {
                self.last += 1;
                snapshot.id = self.last;
                self.open.truncate(REMEMBERED - 1);
                self.open.push_front(snapshot.clone());
            }
            metadata["continue"] = format!("{}.{end}", snapshot.id).into();
            if snapshot.counted {
                metadata["remainingItemCount"] = (total - end).into();
            }
        }
        Page { items, metadata }
    }

    /// Drops all unfinished lists.
    pub fn forget(&mut self) {
        self.open.clear();
    }
}
