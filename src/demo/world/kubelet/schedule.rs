//! kube-scheduler: binds a Pod without a Node, or records why it cannot.
//!
//! Claims of an immediate class must be bound first. For a claim that waits for its first consumer, the Node is chosen
//! immediately and written to the claim, and the Pod is bound once the volume exists.

use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::claims::{self, Claims};
use super::status;
use crate::actor::Actor;
use crate::names::SELECTED_NODE;

/// One attempt to place `pod` on one of `nodes`.
pub(super) async fn schedule(
    actor: &Actor,
    pod: &Pod,
    nodes: &[String],
) -> Result<(), kube::Error> {
    let Some(node) = choose(pod, nodes) else {
        return Ok(());
    };
    let problem = match claims::read(actor, pod).await? {
        Claims::Bound => return bind(actor, pod, node).await,
        Claims::Missing(name) => format!("persistentvolumeclaim \"{name}\" not found"),
        Claims::Terminating(name) => format!("persistentvolumeclaim \"{name}\" is being deleted"),
        Claims::Unbound(claims) => match select_node(actor, &claims, node).await? {
            Waiting::ForVolume => return Ok(()),
            Waiting::ForClaim => "pod has unbound immediate PersistentVolumeClaims".to_owned(),
        },
    };
    let message = format!("0/{} nodes are available: {problem}.", nodes.len());
    if status::unschedulable_message(pod) == Some(&message) {
        return Ok(());
    }
    let pods: Api<Pod> = actor.within(&pod.namespace().unwrap_or_default());
    actor
        .merge_status(
            &pods,
            &pod.name_any(),
            &status::unschedulable(pod, &message),
        )
        .await?;
    Ok(())
}

enum Waiting {
    /// The Node is chosen; the provisioner is next.
    ForVolume,
    /// Waits for a claim, which the scheduler cannot provide.
    ForClaim,
}

async fn select_node(
    actor: &Actor,
    claims: &[PersistentVolumeClaim],
    node: &str,
) -> Result<Waiting, kube::Error> {
    let mut waiting = Waiting::ForVolume;
    for claim in claims {
        if !waits_for_consumer(actor, claim).await? {
            waiting = Waiting::ForClaim;
        } else if !claim.annotations().contains_key(SELECTED_NODE) {
            let api: Api<PersistentVolumeClaim> =
                actor.within(&claim.namespace().unwrap_or_default());
            let patch = json!({"metadata": {
                "resourceVersion": claim.resource_version(),
                "annotations": {SELECTED_NODE: node},
            }});
            actor.merge(&api, &claim.name_any(), &patch).await?;
        }
    }
    Ok(waiting)
}

async fn waits_for_consumer(
    actor: &Actor,
    claim: &PersistentVolumeClaim,
) -> Result<bool, kube::Error> {
    let Some(name) = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.storage_class_name.as_deref())
    else {
        return Ok(false);
    };
    let class = actor.all::<StorageClass>().get_opt(name).await?;
    let mode = class.and_then(|class| class.volume_binding_mode);
    Ok(mode.as_deref() == Some("WaitForFirstConsumer"))
}

async fn bind(actor: &Actor, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            uid: pod.uid(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods: Api<Pod> = actor.within(&namespace);
    match pods
        .create_subresource::<Binding, serde_json::Value>("binding", &name, &actor.post(), &binding)
        .await
    {
        Ok(_) => Ok(()),
        // Already bound, or deleted.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The Node that a DaemonSet selects, or one chosen by uid, so that replicas spread.
fn choose<'a>(pod: &Pod, nodes: &'a [String]) -> Option<&'a str> {
    if let Some(wanted) = wanted_node(pod) {
        return nodes
            .iter()
            .map(String::as_str)
            .find(|node| *node == wanted);
    }
    let uid = pod.uid().unwrap_or_default();
    let sum: usize = uid.bytes().map(usize::from).sum();
    nodes.get(sum.checked_rem(nodes.len())?).map(String::as_str)
}

/// The DaemonSet controller selects its Node in a required affinity on `metadata.name`.
fn wanted_node(pod: &Pod) -> Option<&str> {
    let affinity = pod
        .spec
        .as_ref()?
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| &term.match_fields)
        .flatten();
    let by_name = fields.filter(|field| field.key == "metadata.name");
    by_name
        .flat_map(|field| &field.values)
        .flatten()
        .map(String::as_str)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<String> {
        ["a", "b"].map(str::to_owned).into()
    }

    #[test]
    fn daemonset_pod_is_bound_to_its_node() {
        let pod = |node: &str| {
            let fields = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
            let terms = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
            let affinity =
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
            serde_json::from_value::<Pod>(json!({"spec": {"containers": [], "affinity": affinity}}))
                .unwrap()
        };
        assert_eq!(choose(&pod("b"), &nodes()), Some("b"));
        assert_eq!(choose(&pod("elsewhere"), &nodes()), None);
    }

    #[test]
    fn other_pods_are_bound_to_any_node() {
        assert!(choose(&Pod::default(), &nodes()).is_some());
        assert_eq!(choose(&Pod::default(), &[]), None);
    }
}
