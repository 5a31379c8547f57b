//! Protects claims and volumes from deletion while they are in use.
//!
//! Upstream: `pkg/controller/volume/pvcprotection` and `…/pvprotection` of Kubernetes.

use serde_json::Value;

use super::Snapshot;
use crate::cluster::Cluster;
use crate::json::{Json as _, Meta as _};

/// Finalizer of a claim while a pod uses it.
pub const CLAIM: &str = "kubernetes.io/pvc-protection";
/// Finalizer of a volume while it is bound.
pub const VOLUME: &str = "kubernetes.io/pv-protection";

impl Cluster {
    pub(super) fn release_volumes(&mut self, all: &Snapshot) {
        let pods: Vec<&Value> = all
            .iter()
            .filter(|(resource, _)| resource.kind == "Pod")
            .map(|(_, pod)| &**pod)
            .collect();
        for (resource, object) in all {
            let (finalizer, in_use) = match resource.kind.as_str() {
                "PersistentVolumeClaim" => (CLAIM, pods.iter().any(|pod| uses(pod, object))),
                "PersistentVolume" => (VOLUME, object.text("/status/phase") == "Bound"),
                _ => continue,
            };
            if object.deleting() && !in_use && object.finalizers().any(|f| f == finalizer) {
                self.release(resource, object, finalizer);
            }
        }
    }
}

fn uses(pod: &Value, claim: &Value) -> bool {
    let stopped = matches!(pod.text("/status/phase"), "Failed" | "Succeeded");
    let scheduled = !pod.text("/spec/nodeName").is_empty();
    let mounts = |v: &Value| v.text("/persistentVolumeClaim/claimName") == claim.name();
    pod.namespace() == claim.namespace()
        && scheduled
        && !stopped
        && pod.items("/spec/volumes").iter().any(mounts)
}
