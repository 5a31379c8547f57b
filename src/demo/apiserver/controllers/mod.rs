//! What follows from writes: owners' dependents, a namespace's content, volumes nobody uses any more.
//!
//! Upstream these are controllers of kube-controller-manager, each with its own watches. Here each pass looks
//! at everything, and the writes it makes bring about the next.

mod garbage;
mod namespaces;
mod protection;

pub use protection::{CLAIM as CLAIM_PROTECTION, VOLUME as VOLUME_PROTECTION};

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Shared;
use super::cluster::Cluster;
use super::json::{Json as _, Meta as _};
use super::resources::Resource;
use super::write::{Change, DeleteOptions, Target, WriteOptions};

/// A burst of writes is over within this, or goes on in the next.
const BURST: Duration = Duration::from_millis(10);

/// Every object with its resource, as it was when a pass began.
type Snapshot = [(Arc<Resource>, Arc<Value>)];

/// Looks after every write that may leave something behind, until the server stops.
pub async fn run(shared: Arc<Shared>) {
    let mut writes = shared.lock().store.writes();
    loop {
        writes.mark_unchanged();
        shared.lock().tidy();
        // Writes come in bursts, and one look serves a whole one.
        tokio::time::sleep(BURST).await;
        tokio::select! {
            changed = writes.changed() => if changed.is_err() { return },
            () = shared.stop.cancelled() => return,
        }
    }
}

impl Cluster {
    fn tidy(&mut self) {
        if !self.take_untidy() {
            return;
        }
        let mut all = Vec::new();
        for bucket in self.store.buckets() {
            if let Some(resource) = self.catalog.of_bucket(bucket) {
                let objects = self.store.list(bucket, None);
                all.extend(objects.map(|o| (resource.clone(), o.clone())));
            }
        }
        self.collect_garbage(&all);
        self.empty_namespaces(&all);
        self.release_volumes(&all);
    }

    /// Deletes an object, unless somebody did already.
    fn delete_quietly(&mut self, target: &Target, object: &Value) {
        if !object.deleting() {
            drop(self.delete(target, &DeleteOptions::default()));
        }
    }

    /// Writes one field, unless the object is gone since the pass began.
    fn set(&mut self, target: &Target, pointer: &str, value: Value) {
        let options = WriteOptions {
            manager: "kube-controller-manager".to_owned(),
            ..WriteOptions::default()
        };
        let mut patch = json!({});
        patch.put(pointer, value);
        drop(self.update(target, &options, Change::Merge(patch)));
    }

    /// Takes a finalizer off an object.
    fn release(&mut self, resource: &Arc<Resource>, object: &Value, finalizer: &str) {
        let left: Vec<_> = object.finalizers().filter(|f| *f != finalizer).collect();
        let target = Target::of(resource, object);
        self.set(&target, "/metadata/finalizers", json!(left));
    }

    fn exists(&self, resource: &Resource, object: &Value) -> bool {
        let bucket = &resource.bucket;
        self.store
            .get(bucket, object.namespace(), object.name())
            .is_some()
    }
}
