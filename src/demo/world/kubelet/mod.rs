//! Schedules Pods, runs them, removes them at the end, and serves the logs of their containers over HTTPS.
//!
//! One actor simulates the scheduler and the kubelets of all Nodes; a container is a name with a [`Logs`].

mod claims;
mod node;
mod pod;
mod schedule;
mod server;
mod status;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};

use super::Error;
use super::actor::Actor;
use super::config::WorldConfig;
use super::control::{control, watching};
use super::logs::Logs;

/// State shared by the roles of the kubelet.
#[derive(Debug)]
struct Kubelet {
    scheduler: Actor,
    node: Actor,
    config: WorldConfig,
    logs: Logs,
}

/// Binds the port for logs; the returned future does everything else, until dropped.
pub(super) async fn start(
    client: &Client,
    config: &WorldConfig,
    logs: Logs,
) -> Result<impl Future<Output = ()> + Send + use<>, Error> {
    let server = server::Server::bind(logs.clone()).await?;
    let kubelet = Kubelet {
        scheduler: Actor::new(client.clone(), "kube-scheduler"),
        node: Actor::new(client.clone(), "kubelet"),
        config: config.clone(),
        logs,
    };
    Ok(async move {
        let nodes = node::report(kubelet.node.clone(), kubelet.config.clone(), server.port());
        let logs = pod::close_logs(kubelet.node.clone(), kubelet.logs.clone());
        tokio::join!(nodes, server.serve(), logs, run(kubelet));
    })
}

async fn run(kubelet: Kubelet) {
    let pods = Controller::new(kubelet.node.all::<Pod>(), watching());
    let mounting = pods.store();
    let claims = kubelet.node.all::<PersistentVolumeClaim>();
    let pods = pods.watches(claims, watching(), move |claim| {
        pods_mounting(&mounting, &claim)
    });
    let retry = kubelet.config.timings.retry;
    control(pods, kubelet, retry, reconcile).await;
}

/// Pods that a change of a claim may affect.
fn pods_mounting(pods: &Store<Pod>, claim: &PersistentVolumeClaim) -> Vec<ObjectRef<Pod>> {
    let (namespace, name) = (claim.namespace(), claim.name_any());
    let mounting = pods
        .state_filter(|pod| pod.namespace() == namespace && claims::names(pod).any(|n| n == name));
    mounting
        .iter()
        .map(|pod| ObjectRef::from_obj(&**pod))
        .collect()
}

async fn reconcile(pod: Arc<Pod>, kubelet: Arc<Kubelet>) -> Result<Action, kube::Error> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let Some(node) = node else {
        if pod.metadata.deletion_timestamp.is_none() {
            schedule::schedule(&kubelet.scheduler, &pod, &kubelet.config.nodes).await?;
        }
        return Ok(Action::await_change());
    };
    if !kubelet.config.nodes.iter().any(|name| name == node) {
        return Ok(Action::await_change());
    }
    if pod.metadata.deletion_timestamp.is_some() {
        pod::stop(&kubelet, &pod).await?;
    } else if status::is_running(&pod) {
        // Started in a previous run of this process.
        pod::open_logs(&kubelet, &pod);
    } else {
        pod::start(&kubelet, &pod).await?;
    }
    Ok(Action::await_change())
}
