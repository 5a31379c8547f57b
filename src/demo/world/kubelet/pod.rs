//! The kubelet's part in a Pod's life: its containers start once the volumes are there, and end after a grace.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use super::claims::{self, Claims};
use super::{Kubelet, status};
use crate::demo::world::Error;
use crate::demo::world::control::is_absent;
use crate::demo::world::logs::PodRef;

/// Starts the containers of a Pod on one of our Nodes, unless a claim of it has no volume yet.
pub(super) async fn start(kubelet: &Kubelet, pod: &Pod) -> Result<(), Error> {
    if !matches!(claims::read(&kubelet.node, pod).await?, Claims::Bound) {
        return Ok(());
    }
    tokio::time::sleep(kubelet.config.timings.container_start).await;
    let pod_ref = PodRef::of(pod);
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        kubelet.logs.begin(&pod_ref, &container.name);
    }
    let pods: Api<Pod> = kubelet.node.within(&pod_ref.namespace);
    match kubelet
        .node
        .merge_status(&pods, &pod_ref.name, &status::running(pod))
        .await
    {
        Err(error) if is_absent(&error) => {
            kubelet.logs.end(&pod_ref);
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}

/// Ends the containers of a deleted Pod and then the Pod.
pub(super) async fn stop(kubelet: &Kubelet, pod: &Pod) -> Result<(), Error> {
    tokio::time::sleep(kubelet.config.timings.container_stop).await;
    let pod_ref = PodRef::of(pod);
    let pods: Api<Pod> = kubelet.node.within(&pod_ref.namespace);
    kubelet
        .node
        .delete_now(&pods, &pod_ref.name, pod.uid())
        .await?;
    kubelet.logs.end(&pod_ref);
    Ok(())
}
