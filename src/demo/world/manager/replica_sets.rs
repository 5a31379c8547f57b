//! Keeps the requested number of Pods of each ReplicaSet (`pkg/controller/replicaset`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Manager, pods};
use crate::control::{control, watching};

pub(super) async fn run(manager: Manager) {
    let sets = Controller::new(manager.actor.all::<ReplicaSet>(), watching())
        .owns(manager.actor.all::<Pod>(), watching());
    let retry = manager.config.timings.retry;
    control(sets, manager, retry, reconcile).await;
}

async fn reconcile(set: Arc<ReplicaSet>, manager: Arc<Manager>) -> Result<Action, kube::Error> {
    let namespace = set.namespace().unwrap_or_default();
    let sets: Api<ReplicaSet> = manager.actor.within(&namespace);
    // Read again, as the watch may be behind the Deployment controller's write.
    let Some(set) = sets.get_opt(&set.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let spec = set.spec.clone().unwrap_or_default();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let mut owned = pods::of(&manager, &set).await?;
    let api: Api<Pod> = manager.actor.within(&namespace);
    while owned.len() < wanted {
        let template = spec.template.clone().unwrap_or_default();
        let pod = pods::from_template(&set, template);
        owned.push(api.create(&manager.actor.post(), &pod).await?);
    }
    for pod in owned.split_off(wanted) {
        manager
            .actor
            .delete(&api, &pod.name_any(), pod.uid())
            .await?;
    }
    let ready = pods::count(owned.iter().filter(|pod| pods::is_ready(pod)));
    let status = json!({
        "replicas": owned.len(),
        "fullyLabeledReplicas": owned.len(),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": set.metadata.generation,
    });
    if json!(set.status) != status {
        let patch = json!({"status": status});
        manager
            .actor
            .merge_status(&sets, &set.name_any(), &patch)
            .await?;
    }
    Ok(Action::await_change())
}
