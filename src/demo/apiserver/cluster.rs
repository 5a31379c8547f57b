//! The state of the server: resources, objects, clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Clock;
use super::failure::{Failure, Result};
use super::json::{Json as _, Meta as _};
use super::list::Pages;
use super::random::Random;
use super::resources::{Catalog, Resource, crd};
use super::store::{Key, Store};

/// Namespaces that exist from the start.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// All state; requests lock it one at a time.
#[derive(Debug)]
pub struct Cluster {
    /// Served resources.
    pub catalog: Catalog,
    /// Stored objects.
    pub store: Store,
    /// Source of names and uids.
    pub random: Random,
    /// Lists that clients are paging through.
    pub pages: Pages,
    /// User names of issued service account tokens, by token.
    pub tokens: BTreeMap<String, String>,
    /// Whether there are controllers to remove the finalizers that admission adds.
    pub controlled: bool,
    /// Whether something was written since the last pass of the controllers.
    untidy: bool,
    clock: Clock,
}

impl Cluster {
    /// A cluster with its system namespaces.
    pub fn new(options: &super::Options) -> Self {
        let mut cluster = Self {
            catalog: Catalog::builtin(),
            store: Store::new(options.remembered_events),
            random: Random::new(options.seed),
            pages: Pages::default(),
            tokens: BTreeMap::new(),
            controlled: options.controllers,
            untidy: false,
            clock: options.clock.clone(),
        };
        for name in SYSTEM_NAMESPACES {
            cluster.load(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name},
                "spec": {"finalizers": ["kubernetes"]},
            }));
        }
        // A server that was just started has no events from before.
        cluster.store.compact();
        cluster
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The current time in whole seconds, in RFC 3339.
    pub fn stamp(&self) -> String {
        stamp(self.now())
    }

    /// One stored object.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Value>> {
        self.store
            .get(&resource.bucket, namespace, name)
            .cloned()
            .ok_or_else(|| Failure::not_found(resource, name))
    }

    /// Stores an object; a CustomResourceDefinition changes what is served.
    pub fn commit(&mut self, resource: &Resource, object: Value) -> Arc<Value> {
        if resource.bucket == crd::BUCKET {
            self.catalog.register(&object);
        }
        let stopped = matches!(object.text("/status/phase"), "Failed" | "Succeeded");
        let owned = !object.items("/metadata/ownerReferences").is_empty();
        self.untidy |= object.deleting() || owned || stopped;
        self.store.put(&resource.bucket, key(&object), object)
    }

    /// Whether the controllers must run a pass; resets the flag.
    pub fn take_untidy(&mut self) -> bool {
        std::mem::take(&mut self.untidy)
    }

    /// Removes an object; with a CustomResourceDefinition, the objects of its kind, too.
    pub fn remove(&mut self, resource: &Resource, last: Value) -> Arc<Value> {
        if resource.bucket == crd::BUCKET {
            self.catalog.unregister(&last);
            let bucket = crd::bucket(&last);
            let all: Vec<_> = self.store.list(&bucket, None).cloned().collect();
            for object in all {
                self.store
                    .remove(&bucket, &key(&object), Value::clone(&object));
            }
        }
        self.untidy = true;
        self.store.remove(&resource.bucket, &key(&last), last)
    }

    /// Stores an object unchanged, as from a backup: a uid and creationTimestamp are kept. Returns whether its kind is
    /// served.
    pub fn load(&mut self, mut object: Value) -> bool {
        let kind = (object.text("/apiVersion"), object.text("/kind"));
        let Some(resource) = self.catalog.of_object(kind.0, kind.1) else {
            return false;
        };
        resource.default_into(&mut object);
        let system = [
            ("/metadata/uid", self.random.uid()),
            ("/metadata/creationTimestamp", self.stamp()),
        ];
        for (pointer, value) in system {
            if object.text(pointer).is_empty() {
                object.put(pointer, value);
            }
        }
        if resource.bucket == crd::BUCKET {
            let now = self.stamp();
            crd::establish(&mut object, &now);
        }
        let object = resource.stored(object);
        self.commit(&resource, object);
        true
    }
}

/// The key of an object in its bucket.
pub fn key(object: &Value) -> Key {
    (object.namespace().to_owned(), object.name().to_owned())
}

/// A time in whole seconds, in RFC 3339.
pub fn stamp(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}
