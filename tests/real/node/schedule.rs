//! kube-scheduler: binds pods whose claims are bound to nodes.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, Client, ResourceExt};
use locksmith::demo::scenario::until;
use serde_json::{Value, json};

use super::NODES;

/// Longer than any test.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The node of each pod, so that replicas of one owner are spread.
#[derive(Default)]
pub(super) struct Placement(HashMap<String, (String, usize)>);

impl Placement {
    /// Picks the node with the fewest pods of this pod's owner, or the first of several.
    pub(super) fn place(&mut self, pod: &Pod) -> &'static str {
        let owner = pod.owner_references().first();
        let owner = owner.map(|owner| owner.uid.clone()).unwrap_or_default();
        let used = |node: usize| {
            let placed = self.0.values();
            placed
                .filter(|(of, on)| (of, *on) == (&owner, node))
                .count()
        };
        let node = (0..NODES.len())
            .min_by_key(|node| used(*node))
            .unwrap_or_default();
        self.0.insert(pod.uid().unwrap_or_default(), (owner, node));
        NODES[node]
    }

    pub(super) fn forget(&mut self, pod: &Pod) {
        self.0.remove(&pod.uid().unwrap_or_default());
    }
}

/// Waits until every claim that the pod mounts is Bound.
pub(super) async fn claims_bound(client: &Client, pod: &Pod) {
    let volumes = pod.spec.iter().flat_map(|spec| &spec.volumes).flatten();
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let names: Vec<_> = claims.map(|claim| claim.claim_name.clone()).collect();
    if names.is_empty() {
        return;
    }
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let bound = |claim: &PersistentVolumeClaim| {
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        phase == Some("Bound") && claim.metadata.deletion_timestamp.is_none()
    };
    let ready = until(api, "claims of a pod", FOREVER, |all| {
        let is_bound = |name: &String| all.iter().any(|one| one.name_any() == *name && bound(one));
        names.iter().all(is_bound)
    });
    // It fails only after FOREVER.
    let _ = ready.await;
}

/// The request that binds `pod` to `node`.
pub(super) fn binding(pod: &Pod, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name_any(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}
