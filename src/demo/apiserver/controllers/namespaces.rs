//! Empties a deleted namespace, and then removes it.
//!
//! Upstream: `pkg/controller/namespace` of Kubernetes.

use super::Snapshot;
use crate::cluster::Cluster;
use crate::json::{Json as _, Meta as _};
use crate::resources::Subresource;
use crate::write::Target;

/// Finalizer of a namespace until it is empty; it may have other finalizers.
const FINALIZER: &str = "kubernetes";

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
                let mut held = namespace.items("/spec/finalizers").to_vec();
                held.retain(|f| f != FINALIZER);
                self.set(&target, "/spec/finalizers", held.into());
            }
        }
    }
}
