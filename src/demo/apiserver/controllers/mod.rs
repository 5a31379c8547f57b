//! Controllers: garbage collection, deletion of namespaces, protection of volumes in use.
//!
//! Upstream these are controllers of kube-controller-manager, each with its own watches. Here each pass reads all objects,
//! and the writes of a pass trigger the next.

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

/// Time to collect the writes of a burst; later writes are handled by the next pass.
const BURST: Duration = Duration::from_millis(10);

/// All objects with their resources at the start of a pass.
type Snapshot = [(Arc<Resource>, Arc<Value>)];

/// Runs a pass after every write that may require one, until the server stops.
pub async fn run(shared: Arc<Shared>) {
    let mut writes = shared.lock().store.writes();
    loop {
        writes.mark_unchanged();
        shared.lock().tidy();
        // Writes come in bursts, which one pass handles.
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

    /// Deletes an object, unless it is already deleted.
    fn delete_quietly(&mut self, target: &Target, object: &Value) {
        if !object.deleting() {
            drop(self.delete(target, &DeleteOptions::default()));
        }
    }

    /// Writes a field, unless the object was deleted since the pass started.
    fn set(&mut self, target: &Target, pointer: &str, value: Value) {
        let options = WriteOptions {
            manager: "kube-controller-manager".to_owned(),
            ..WriteOptions::default()
        };
        let mut patch = json!({});
        patch.put(pointer, value);
        drop(self.update(target, &options, Change::Merge(patch)));
    }

    /// Removes a finalizer from an object.
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
