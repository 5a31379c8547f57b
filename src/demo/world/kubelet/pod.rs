//! The kubelet's part of a Pod's life cycle: starts containers once the volumes are there, and stops them with a grace
//! period.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, ResourceExt};

use super::claims::{self, Claims};
use super::{Kubelet, status};
use crate::actor::Actor;
use crate::control::{is_absent, watching};
use crate::logs::{Logs, PodRef};

/// Starts the containers of a Pod on one of our Nodes, unless one of its claims has no volume yet.
pub(super) async fn start(kubelet: &Kubelet, pod: &Pod) -> Result<(), kube::Error> {
    if !matches!(claims::read(&kubelet.node, pod).await?, Claims::Bound) {
        return Ok(());
    }
    tokio::time::sleep(kubelet.config.timings.container_start).await;
    open_logs(kubelet, pod);
    let pods: Api<Pod> = kubelet.node.within(&pod.namespace().unwrap_or_default());
    let running = status::running(pod);
    match kubelet
        .node
        .merge_status(&pods, &pod.name_any(), &running)
        .await
    {
        Err(error) if is_absent(&error) => {
            kubelet.logs.end(&PodRef::of(pod));
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Stops the containers of a deleted Pod, and then removes the Pod.
pub(super) async fn stop(kubelet: &Kubelet, pod: &Pod) -> Result<(), kube::Error> {
    tokio::time::sleep(kubelet.config.timings.container_stop).await;
    let pods: Api<Pod> = kubelet.node.within(&pod.namespace().unwrap_or_default());
    let ended = status::ended(pod);
    match kubelet
        .node
        .merge_status(&pods, &pod.name_any(), &ended)
        .await
    {
        Err(error) if !is_absent(&error) => return Err(error),
        _ => {}
    }
    kubelet
        .node
        .delete_now(&pods, &pod.name_any(), pod.uid())
        .await
}

/// Opens the logs of the containers for writing and reading.
pub(super) fn open_logs(kubelet: &Kubelet, pod: &Pod) {
    let pod_ref = PodRef::of(pod);
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        kubelet.logs.begin(&pod_ref, &container.name);
    }
}

/// Closes the logs of every deleted Pod, whoever deleted it.
pub(super) async fn close_logs(actor: Actor, logs: Logs) {
    let mut pods = watcher(actor.all::<Pod>(), watching())
        .default_backoff()
        .boxed();
    while let Some(event) = pods.next().await {
        if let Ok(Event::Delete(pod)) = event {
            logs.end(&PodRef::of(&pod));
        }
    }
}
