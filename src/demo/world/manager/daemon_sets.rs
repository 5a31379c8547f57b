//! Keeps a Pod of each DaemonSet on every Node (`pkg/controller/daemon`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Manager, pods};
use crate::control::{control, watching};

pub(super) async fn run(manager: Manager) {
    let sets = Controller::new(manager.actor.all::<DaemonSet>(), watching())
        .owns(manager.actor.all::<Pod>(), watching());
    let retry = manager.config.timings.retry;
    control(sets, manager, retry, reconcile).await;
}

async fn reconcile(set: Arc<DaemonSet>, manager: Arc<Manager>) -> Result<Action, kube::Error> {
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<Pod> = manager.actor.within(&namespace);
    let owned = pods::of(&manager, &*set).await?;
    let nodes = &manager.config.nodes;
    for node in nodes {
        if !owned.iter().any(|pod| is_for(pod, node)) {
            let pod = pod(&set, node);
            api.create(&manager.actor.post(), &pod).await?;
        }
    }
    let ready = pods::count(owned.iter().filter(|pod| pods::is_ready(pod)));
    let status = json!({
        "currentNumberScheduled": owned.len(),
        "desiredNumberScheduled": nodes.len(),
        "numberAvailable": ready,
        "numberMisscheduled": 0,
        "numberReady": ready,
        "observedGeneration": set.metadata.generation,
        "updatedNumberScheduled": owned.len(),
    });
    if json!(set.status) != status {
        let sets: Api<DaemonSet> = manager.actor.within(&namespace);
        let patch = json!({"status": status});
        manager
            .actor
            .merge_status(&sets, &set.name_any(), &patch)
            .await?;
    }
    Ok(Action::await_change())
}

fn pod(set: &DaemonSet, node: &str) -> Pod {
    let template = set.spec.clone().unwrap_or_default().template;
    let mut pod = pods::from_template(set, template);
    pod.spec.get_or_insert_default().affinity = Some(affinity(node));
    pod
}

/// Affinity to the Node with that name, which the scheduler then chooses.
fn affinity(node: &str) -> Affinity {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_fields: Some(vec![field]),
                    match_expressions: None,
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn is_for(pod: &Pod, node: &str) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.affinity.as_ref()) == Some(&affinity(node))
}
