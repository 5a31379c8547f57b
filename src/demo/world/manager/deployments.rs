//! Creates a ReplicaSet for each Pod template of a Deployment, the newest with the replicas (`pkg/controller/deployment`).
//!
//! `Recreate` stops the old Pods before it starts new ones. `RollingUpdate` starts all new ones first, as if `maxSurge`
//! were 100%.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Manager, pods};
use crate::control::{control, watching};
use locksmith_api::short_hash;

/// Label of all objects created from one template.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Number of the ReplicaSet within its Deployment.
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(super) async fn run(manager: Manager) {
    let deployments = Controller::new(manager.actor.all::<Deployment>(), watching())
        .owns(manager.actor.all::<ReplicaSet>(), watching());
    let retry = manager.config.timings.retry;
    control(deployments, manager, retry, reconcile).await;
}

async fn reconcile(
    deployment: Arc<Deployment>,
    manager: Arc<Manager>,
) -> Result<Action, kube::Error> {
    if deployment.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = deployment.namespace().unwrap_or_default();
    let sets: Api<ReplicaSet> = manager.actor.within(&namespace);
    let spec = deployment.spec.clone().unwrap_or_default();
    let hash = hash(&spec.template);
    let mut owned = sets.list(&ListParams::default()).await?.items;
    owned.retain(|set| pods::controls(&*deployment, set));
    let is_new = |set: &ReplicaSet| set.labels().get(TEMPLATE_HASH) == Some(&hash);
    let (new, old): (Vec<_>, Vec<_>) = owned.into_iter().partition(is_new);
    let Some(new) = new.into_iter().next() else {
        // The creation triggers the Deployment again.
        let set = replica_set(&deployment, &hash, old.len() + 1);
        manager.actor.create(&sets, &set).await?;
        return Ok(Action::await_change());
    };
    let wanted = spec.replicas.unwrap_or(1);
    let recreates = spec
        .strategy
        .is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"));
    let old_pods = pods_of(&manager, &namespace, &old).await?;
    let may_begin = !recreates || old_pods == 0;
    let may_end = recreates || ready(&new) >= wanted;
    scale(&manager, &sets, &new, if may_begin { wanted } else { 0 }).await?;
    if may_end {
        for set in &old {
            scale(&manager, &sets, set, 0).await?;
        }
    }
    let status = status(&deployment, &new, &old, wanted);
    if changed(&deployment, &status) {
        let deployments: Api<Deployment> = manager.actor.within(&namespace);
        let patch = json!({"status": status});
        manager
            .actor
            .merge_status(&deployments, &deployment.name_any(), &patch)
            .await?;
    }
    // The end of a Pod changes nothing that this controller watches.
    let retry = manager.config.timings.retry.first;
    Ok(if may_begin {
        Action::await_change()
    } else {
        Action::requeue(retry)
    })
}

/// Number of remaining Pods of `sets`, including those being deleted.
async fn pods_of(
    manager: &Manager,
    namespace: &str,
    sets: &[ReplicaSet],
) -> Result<usize, kube::Error> {
    let pods: Api<Pod> = manager.actor.within(namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    let of_any = |pod: &&Pod| sets.iter().any(|set| pods::controls(set, *pod));
    Ok(pods.iter().filter(of_any).count())
}

fn ready(set: &ReplicaSet) -> i32 {
    let status = set.status.as_ref();
    status
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default()
}

async fn scale(
    manager: &Manager,
    sets: &Api<ReplicaSet>,
    set: &ReplicaSet,
    replicas: i32,
) -> Result<(), kube::Error> {
    if set.spec.as_ref().and_then(|spec| spec.replicas) == Some(replicas) {
        return Ok(());
    }
    let patch = json!({"spec": {"replicas": replicas}});
    manager
        .actor
        .merge(sets, &set.name_any(), &patch)
        .await
        .map(drop)
}

/// A ReplicaSet without Pods, until the old ones are counted.
fn replica_set(deployment: &Deployment, hash: &str, revision: usize) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let mut template = spec.template;
    let mut selector = spec.selector;
    let label = (TEMPLATE_HASH.to_owned(), hash.to_owned());
    let labels = &mut template.metadata.get_or_insert_default().labels;
    labels
        .get_or_insert_default()
        .insert(label.0.clone(), label.1.clone());
    let labels = labels.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(label.0, label.1);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels,
            annotations: Some([(REVISION.to_owned(), revision.to_string())].into()),
            owner_references: deployment
                .controller_owner_ref(&())
                .map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            selector,
            template: Some(template),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}

fn hash(template: &PodTemplateSpec) -> String {
    let mut digest = Sha256::new();
    digest.update(json!(template).to_string());
    short_hash(digest)
}

fn status(deployment: &Deployment, new: &ReplicaSet, old: &[ReplicaSet], wanted: i32) -> Value {
    let replicas = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let available = ready(new) + old.iter().map(ready).sum::<i32>();
    let complete = ready(new) >= wanted && old.iter().all(|set| replicas(set) == 0);
    let condition = |kind: &str, is: bool, reason: &str| {
        json!({
            "type": kind,
            "status": if is { "True" } else { "False" },
            "reason": reason,
            "message": "",
            "lastTransitionTime": Time(Timestamp::now()),
            "lastUpdateTime": Time(Timestamp::now()),
        })
    };
    let progressing = if complete {
        "NewReplicaSetAvailable"
    } else {
        "ReplicaSetUpdated"
    };
    json!({
        "observedGeneration": deployment.metadata.generation,
        "replicas": replicas(new) + old.iter().map(replicas).sum::<i32>(),
        "updatedReplicas": replicas(new),
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": (wanted - available).max(0),
        "conditions": [
            condition("Available", available >= wanted, "MinimumReplicasAvailable"),
            condition("Progressing", true, progressing),
        ],
    })
}

/// Whether `status` differs from the current one, apart from the times of conditions.
fn changed(deployment: &Deployment, status: &Value) -> bool {
    let plain = |mut status: Value| {
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            *condition = json!([condition["type"], condition["status"], condition["reason"]]);
        }
        let fields = status.as_object().cloned().unwrap_or_default();
        // An absent number is 0.
        let said = fields.into_iter().filter(|(_, value)| *value != json!(0));
        said.collect::<serde_json::Map<_, _>>()
    };
    plain(json!(deployment.status)) != plain(status.clone())
}
