//! Nodes that report themselves as ready.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::actor::Actor;
use crate::config::WorldConfig;

/// Registers every Node and keeps its status current. All serve logs on the same `port`.
pub(super) async fn report(actor: Actor, config: WorldConfig, port: u16) {
    let mut heartbeat = tokio::time::interval(config.timings.node_heartbeat);
    loop {
        heartbeat.tick().await;
        for name in &config.nodes {
            if let Err(error) = report_once(&actor, name, port).await {
                tracing::debug!(node = name, %error, "node not reported");
                heartbeat.reset_after(config.timings.retry.most);
            }
        }
    }
}

async fn report_once(actor: &Actor, name: &str, port: u16) -> Result<(), kube::Error> {
    let nodes = actor.all::<Node>();
    if nodes.get_opt(name).await?.is_none() {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.metadata.labels = Some(
            [
                ("kubernetes.io/hostname", name),
                ("kubernetes.io/os", "linux"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        );
        actor.create(&nodes, &node).await?;
    }
    actor
        .merge_status(&nodes, name, &status(port))
        .await
        .map(drop)
}

/// Only an InternalIP: the API server prefers host names, which do not resolve here.
fn status(port: u16) -> Value {
    let now = Time(Timestamp::now());
    let room = json!({"cpu": "16", "memory": "64Gi", "pods": "500"});
    json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "capacity": room,
        "allocatable": room,
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }],
    }})
}
