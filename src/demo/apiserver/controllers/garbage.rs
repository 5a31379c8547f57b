//! Dependents of owners that go: deleted with them, before them, or left to themselves.
//!
//! Upstream: `pkg/controller/garbagecollector` of Kubernetes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Snapshot;
use crate::demo::apiserver::cluster::Cluster;
use crate::demo::apiserver::json::{Json as _, Meta as _};
use crate::demo::apiserver::write::{FOREGROUND, ORPHAN, Target};

type Uids = BTreeSet<String>;

/// What its owners' state means for an object.
enum Fate {
    Stay,
    /// No owner is left, or all of them wait for it to go.
    Go,
    /// These owners are gone or let go of it; others stay.
    Forget(Uids),
}

impl Cluster {
    pub(super) fn collect_garbage(&mut self, all: &Snapshot) {
        let alive: Uids = all.iter().map(|(_, o)| o.uid().to_owned()).collect();
        let held_by = |finalizer: &str| -> Uids {
            all.iter()
                .filter(|(_, o)| o.deleting() && o.finalizers().any(|f| f == finalizer))
                .map(|(_, o)| o.uid().to_owned())
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

    /// Whether a dependent that is still there blocks its owner.
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

fn fate(object: &Value, alive: &Uids, orphaning: &Uids, foreground: &Uids) -> Fate {
    let owners = object.items("/metadata/ownerReferences");
    let owners: Uids = owners.iter().map(|r| r.text("/uid").to_owned()).collect();
    if owners.is_empty() {
        return Fate::Stay;
    }
    let absent: Uids = owners.difference(alive).cloned().collect();
    let orphaned: Uids = owners.intersection(orphaning).cloned().collect();
    let waiting = owners.intersection(foreground).count();
    if orphaned.is_empty() && absent.len() + waiting == owners.len() {
        return Fate::Go;
    }
    let past: Uids = absent.union(&orphaned).cloned().collect();
    if past.is_empty() {
        Fate::Stay
    } else {
        Fate::Forget(past)
    }
}
