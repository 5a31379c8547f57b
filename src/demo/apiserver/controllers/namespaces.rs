//! A namespace that is deleted: emptied first, then let go.
//!
//! Upstream: `pkg/controller/namespace` of Kubernetes.

use serde_json::json;

use super::Snapshot;
use crate::demo::apiserver::cluster::Cluster;
use crate::demo::apiserver::json::Meta as _;
use crate::demo::apiserver::resources::Subresource;
use crate::demo::apiserver::write::Target;

impl Cluster {
    pub(super) fn empty_namespaces(&mut self, all: &Snapshot) {
        for (resource, namespace) in all {
            if resource.kind != "Namespace" || !namespace.deleting() {
                continue;
            }
            let mut left = false;
            for (resource, object) in all {
                if resource.namespaced && object.namespace() == namespace.name() {
                    self.delete_quietly(&Target::of(resource, object), object);
                    left |= self.exists(resource, object);
                }
            }
            if !left {
                let mut target = Target::of(resource, namespace);
                target.subresource = Some(Subresource::Finalize);
                self.set(&target, "/spec/finalizers", json!([]));
            }
        }
    }
}
