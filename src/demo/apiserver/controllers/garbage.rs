//! Deletes dependents of deleted owners, or orphans them.
//!
//! Upstream: `pkg/controller/garbagecollector` of Kubernetes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Snapshot;
use crate::cluster::Cluster;
use crate::json::{Json as _, Meta as _};
use crate::write::{FOREGROUND, ORPHAN, Target};

type Uids<'a> = BTreeSet<&'a str>;

/// The action for an object, given its owners.
enum Fate<'a> {
    Stay,
    /// Delete it: no owner is left, or all of them wait for its deletion.
    Go,
    /// Remove these owners, which are deleted or orphan it; others remain.
    Forget(Uids<'a>),
}

impl Cluster {
    pub(super) fn collect_garbage(&mut self, all: &Snapshot) {
        let alive: Uids<'_> = all.iter().map(|(_, o)| o.uid()).collect();
        let held_by = |finalizer: &str| -> Uids<'_> {
            all.iter()
                .filter(|(_, o)| o.deleting() && o.finalizers().any(|f| f == finalizer))
                .map(|(_, o)| o.uid())
                .collect()
        };
        let (orphaning, foreground) = (held_by(ORPHAN), held_by(FOREGROUND));
        for (resource, object) in all {
            let target = Target::of(resource, object);
            match fate(object, &alive, &orphaning, &foreground) {
                Fate::Stay => {}
                Fate::Go => self.delete_quietly(&target, object),
                Fate::Forget(owners) => {
                    let mut left = object.items("/metadata/ownerReferences").to_vec();
                    left.retain(|r| !owners.contains(r.text("/uid")));
                    self.set(&target, "/metadata/ownerReferences", left.into());
                }
            }
        }
        for (resource, object) in all {
            if orphaning.contains(object.uid()) {
                self.release(resource, object, ORPHAN);
            }
            if foreground.contains(object.uid()) && !self.blocked(all, object) {
                self.release(resource, object, FOREGROUND);
            }
        }
    }

    /// Whether an existing dependent blocks the deletion of its owner.
    fn blocked(&self, all: &Snapshot, owner: &Value) -> bool {
        let blocks = |dependent: &Value| {
            let owners = dependent.items("/metadata/ownerReferences");
            owners
                .iter()
                .any(|r| r.text("/uid") == owner.uid() && r.truth("/blockOwnerDeletion"))
        };
        all.iter()
            .any(|(resource, o)| blocks(o) && self.exists(resource, o))
    }
}

fn fate<'a>(
    object: &'a Value,
    alive: &Uids<'a>,
    orphaning: &Uids<'a>,
    foreground: &Uids<'a>,
) -> Fate<'a> {
    let owners = object.items("/metadata/ownerReferences");
    let owners: Uids<'a> = owners.iter().map(|r| r.text("/uid")).collect();
    if owners.is_empty() {
        return Fate::Stay;
    }
    let absent: Uids<'a> = owners.difference(alive).copied().collect();
    let orphaned: Uids<'a> = owners.intersection(orphaning).copied().collect();
    let waiting = owners.intersection(foreground).count();
    if orphaned.is_empty() && absent.len() + waiting == owners.len() {
        return Fate::Go;
    }
    let past: Uids<'a> = absent.union(&orphaned).copied().collect();
    if past.is_empty() {
        Fate::Stay
    } else {
        Fate::Forget(past)
    }
}
