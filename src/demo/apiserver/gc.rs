//! The garbage collector and the namespace controller: what follows from deletions.
//!
//! Upstream both are part of kube-controller-manager: `pkg/controller/garbagecollector`, `…/namespace`. Here
//! each pass looks at everything, and the writes it makes bring about the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Shared;
use super::cluster::Cluster;
use super::json::{Json as _, Meta as _};
use super::resources::Resource;
use super::write::{Change, DeleteOptions, FOREGROUND, ORPHAN, Target, WriteOptions};

const NAMESPACES: &str = "/namespaces";

/// Collects after every write that may leave something behind, until the server stops.
pub async fn run(shared: Arc<Shared>) {
    let mut writes = shared.lock().store.writes();
    loop {
        if shared.lock().take_untidy() {
            shared.lock().collect();
            continue;
        }
        tokio::select! {
            changed = writes.changed() => if changed.is_err() { return },
            () = shared.stop.cancelled() => return,
        }
    }
}

/// What an owner's state means for an object.
enum Fate {
    Stay,
    /// No owner is left, or all of them wait for it to go.
    Go,
    /// These owners are gone or let go of it, others stay.
    Forget(BTreeSet<String>),
}

impl Cluster {
    /// One pass over everything.
    fn collect(&mut self) {
        let all: Vec<(Arc<Resource>, Arc<Value>)> = self
            .store
            .everything()
            .filter_map(|(bucket, o)| Some((self.catalog.of_bucket(bucket)?, o.clone())))
            .collect();
        let alive = |o: &&Arc<Value>| o.uid().to_owned();
        let uids: BTreeSet<_> = all.iter().map(|(_, o)| o).map(|o| alive(&o)).collect();
        let held_by = |finalizer: &'static str| -> BTreeSet<String> {
            all.iter()
                .filter(|(_, o)| o.deleting() && o.finalizers().any(|f| f == finalizer))
                .map(|(_, o)| o.uid().to_owned())
                .collect()
        };
        let (orphaning, foreground) = (held_by(ORPHAN), held_by(FOREGROUND));
        for (resource, object) in &all {
            let target = Target::of(resource, object);
            match fate(object, &uids, &orphaning, &foreground) {
                Fate::Stay => {}
                Fate::Go => self.remove_quietly(&target, object),
                Fate::Forget(owners) => self.forget(&target, object, &owners),
            }
        }
        for (resource, object) in &all {
            let target = Target::of(resource, object);
            let owns = |o: &Value| {
                o.items("/metadata/ownerReferences")
                    .iter()
                    .any(|r| r.text("/uid") == object.uid())
            };
            if orphaning.contains(object.uid()) {
                self.let_go(&target, object, ORPHAN);
            }
            let blocked = || {
                all.iter().any(|(r, o)| {
                    owns(o) && self.store.get(&r.bucket, o.namespace(), o.name()).is_some()
                })
            };
            if foreground.contains(object.uid()) && !blocked() {
                self.let_go(&target, object, FOREGROUND);
            }
            if resource.bucket == NAMESPACES && object.deleting() {
                self.empty(&target, &all);
            }
        }
    }

    fn remove_quietly(&mut self, target: &Target, object: &Value) {
        if object.deleting() {
            return;
        }
        // Somebody else may have been faster; then there is nothing to do.
        drop(self.delete(target, &DeleteOptions::default()));
    }

    fn forget(&mut self, target: &Target, object: &Value, owners: &BTreeSet<String>) {
        let mut left = object.items("/metadata/ownerReferences").to_vec();
        left.retain(|r| !owners.contains(r.text("/uid")));
        self.patch(target, "/metadata/ownerReferences", left.into());
    }

    fn let_go(&mut self, target: &Target, object: &Value, finalizer: &str) {
        let left: Vec<_> = object.finalizers().filter(|f| *f != finalizer).collect();
        self.patch(target, "/metadata/finalizers", json!(left));
    }

    /// Deletes what is in a namespace; the namespace goes once nothing is.
    fn empty(&mut self, namespace: &Target, all: &[(Arc<Resource>, Arc<Value>)]) {
        let mut left = false;
        for (resource, object) in all {
            if resource.namespaced && object.namespace() == namespace.name {
                let target = Target::of(resource, object);
                self.remove_quietly(&target, object);
                left |= self
                    .store
                    .get(&resource.bucket, object.namespace(), object.name())
                    .is_some();
            }
        }
        if !left {
            self.patch(namespace, "/spec/finalizers", json!([]));
        }
    }

    fn patch(&mut self, target: &Target, pointer: &str, value: Value) {
        let options = WriteOptions {
            manager: "kube-controller-manager".to_owned(),
            ..WriteOptions::default()
        };
        let mut patch = json!({});
        patch.put(pointer, value);
        // The object may be gone since the pass began.
        drop(self.update(target, &options, Change::Merge(patch)));
    }
}

fn fate(
    object: &Value,
    uids: &BTreeSet<String>,
    orphaning: &BTreeSet<String>,
    foreground: &BTreeSet<String>,
) -> Fate {
    let owners = object.items("/metadata/ownerReferences");
    let owners: BTreeSet<_> = owners.iter().map(|r| r.text("/uid").to_owned()).collect();
    if owners.is_empty() {
        return Fate::Stay;
    }
    let absent: BTreeSet<_> = owners.difference(uids).cloned().collect();
    let orphaned: BTreeSet<_> = owners.intersection(orphaning).cloned().collect();
    let waiting = owners.intersection(foreground).count();
    if orphaned.is_empty() && absent.len() + waiting == owners.len() {
        return Fate::Go;
    }
    let past: BTreeSet<_> = absent.union(&orphaned).cloned().collect();
    if past.is_empty() {
        Fate::Stay
    } else {
        Fate::Forget(past)
    }
}
