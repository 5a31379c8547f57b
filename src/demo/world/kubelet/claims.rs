//! The state of the claims that a Pod mounts.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Api, ResourceExt};

use crate::actor::Actor;

/// State of all claims of a Pod: the first reason for it to wait.
#[derive(Debug)]
pub(super) enum Claims {
    /// Every claim has its volume.
    Bound,
    /// There is no claim with this name.
    Missing(String),
    /// This claim is being deleted.
    Terminating(String),
    /// These have no volume yet.
    Unbound(Vec<PersistentVolumeClaim>),
}

/// Names of the claims `pod` mounts.
pub(super) fn names(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| &spec.volumes).flatten();
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .map(|source| source.claim_name.as_str())
}

/// Reads the claims `pod` mounts.
pub(super) async fn read(actor: &Actor, pod: &Pod) -> Result<Claims, kube::Error> {
    let claims: Api<PersistentVolumeClaim> = actor.within(&pod.namespace().unwrap_or_default());
    let mut unbound = Vec::new();
    for name in names(pod) {
        let Some(claim) = claims.get_opt(name).await? else {
            return Ok(Claims::Missing(name.to_owned()));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Ok(Claims::Terminating(name.to_owned()));
        }
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if phase != Some("Bound") {
            unbound.push(claim);
        }
    }
    Ok(if unbound.is_empty() {
        Claims::Bound
    } else {
        Claims::Unbound(unbound)
    })
}
