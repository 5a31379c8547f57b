//! Common parts of the workload controllers: the Pods of an owner, and Pods created from its template.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};

use super::Manager;

/// The Pods that `owner` controls and that are not being deleted.
pub(super) async fn of<K>(manager: &Manager, owner: &K) -> Result<Vec<Pod>, kube::Error>
where
    K: Resource<DynamicType = ()>,
{
    let pods: Api<Pod> = manager.actor.within(&owner.namespace().unwrap_or_default());
    let mut pods = pods.list(&ListParams::default()).await?.items;
    pods.retain(|pod| controls(owner, pod) && pod.metadata.deletion_timestamp.is_none());
    Ok(pods)
}

/// Whether `owner` is the controller of `owned`.
pub(super) fn controls<K: Resource, O: Resource>(owner: &K, object: &O) -> bool {
    let uid = owner.meta().uid.as_deref();
    object
        .owner_references()
        .iter()
        .any(|reference| reference.controller == Some(true) && Some(&*reference.uid) == uid)
}

/// A Pod of `owner`, created from `template`.
pub(super) fn from_template<K>(owner: &K, template: PodTemplateSpec) -> Pod
where
    K: Resource<DynamicType = ()>,
{
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.generate_name = Some(format!("{}-", owner.name_any()));
    metadata.namespace = owner.namespace();
    metadata.owner_references = owner.controller_owner_ref(&()).map(|owner| vec![owner]);
    Pod {
        metadata,
        spec: template.spec,
        status: None,
    }
}

/// Whether its containers are ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Number of `pods`, as statuses count.
pub(super) fn count<'a>(pods: impl Iterator<Item = &'a Pod>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}
