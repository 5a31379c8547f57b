//! The processes in the provisioner's Pods: the driver, and the sidecars that call it.
//!
//! The sidecars of a Pod call the driver in that Pod, each while it leads. The two Leases are independent, so that
//! provisioning and snapshots may be led from different Pods. The memory of a process (locks, backoff, claims in progress)
//! is lost with its Pod.

mod lease;
mod outcome;
mod provisioner;
mod snapshotter;
mod source;
mod volume;

pub use lease::made_up_identity;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Event, watcher};
use kube::{Client, ResourceExt};
use tokio_util::task::AbortOnDropHandle;

use self::lease::Candidate;
use self::provisioner::Provisioner;
use self::snapshotter::Snapshotter;
use super::actor::Actor;
use super::ceph::{Ceph, Driver, DriverConfig};
use super::config::{Layout, WorldConfig};
use super::control::watching;
use super::logs::{Logs, PodRef};
use super::names::{DRIVER_CONTAINER, PROVISIONER_CONTAINER, SNAPSHOTTER_CONTAINER, lease_names};

/// Starts and stops the processes of every provisioner Pod, until dropped.
pub(super) async fn run(client: Client, config: WorldConfig, ceph: Ceph, logs: Logs) {
    let actor = Actor::new(client.clone(), PROVISIONER_CONTAINER);
    let mut pods = watcher(actor.within::<Pod>(&config.namespace), watching())
        .default_backoff()
        .boxed();
    let mut running: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    let mut listed: BTreeSet<String> = BTreeSet::new();
    while let Some(event) = pods.next().await {
        match event {
            Ok(Event::Apply(pod)) => follow(&mut running, &pod, || {
                processes(&client, &config, &ceph, &logs, &pod)
            }),
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                follow(&mut running, &pod, || {
                    processes(&client, &config, &ceph, &logs, &pod)
                });
            }
            Ok(Event::Delete(pod)) => {
                running.remove(&pod.uid().unwrap_or_default());
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitDone) => running.retain(|uid, _| listed.contains(uid)),
            Err(error) => tracing::debug!(%error, "watch of the provisioner's pods interrupted"),
        }
    }
}

fn follow<Fut>(
    running: &mut HashMap<String, AbortOnDropHandle<()>>,
    pod: &Pod,
    start: impl FnOnce() -> Fut,
) where
    Fut: Future<Output = ()> + Send + 'static,
{
    let uid = pod.uid().unwrap_or_default();
    if runs(pod) {
        running
            .entry(uid)
            .or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(start())));
    } else {
        running.remove(&uid);
    }
}

/// Whether the containers run: SIGTERM, sent on deletion, ends them immediately.
fn runs(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    has_container(pod, PROVISIONER_CONTAINER)
        && has_container(pod, DRIVER_CONTAINER)
        && phase == Some("Running")
        && pod.metadata.deletion_timestamp.is_none()
}

fn has_container(pod: &Pod, name: &str) -> bool {
    pod.spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .any(|container| container.name == name)
}

/// The processes of one Pod.
fn processes(
    client: &Client,
    config: &WorldConfig,
    ceph: &Ceph,
    logs: &Logs,
    pod: &Pod,
) -> impl Future<Output = ()> + Send + use<> {
    let timings = &config.timings;
    let pod_ref = PodRef::of(pod);
    let identity = pod_ref.name.clone();
    let driver_config = DriverConfig {
        pod: pod_ref,
        grpc_timeout: timings.grpc_timeout,
        volume_operation: timings.volume_operation,
        snapshot_operation: timings.snapshot_operation,
    };
    let driver = Arc::new(Driver::start(driver_config, ceph, logs.clone()));
    let (provisioner_lease, snapshotter_lease) = lease_names(&config.driver);
    let candidate = |manager: &'static str, lease: String, identity: String| Candidate {
        actor: Actor::new(client.clone(), manager),
        namespace: config.namespace.clone(),
        lease,
        identity,
        timings: timings.lease,
    };
    let host = lease::host_identity(pod);
    let provisioner = match config.layout {
        Layout::Classic => lease::made_up_identity(&config.driver),
        Layout::OperatorManaged | Layout::HostNetwork | Layout::StatefulSet => host.clone(),
    };
    let provisioning = candidate(PROVISIONER_CONTAINER, provisioner_lease, provisioner);
    let snapshotting = has_container(pod, SNAPSHOTTER_CONTAINER)
        .then(|| candidate(SNAPSHOTTER_CONTAINER, snapshotter_lease, host));
    let (client, config) = (client.clone(), config.clone());
    async move {
        let provisioner =
            provisioning.lead(|| Provisioner::new(&client, &config, &identity, &driver).run());
        match &snapshotting {
            None => provisioner.await,
            Some(snapshotting) => {
                let snapshotter =
                    snapshotting.lead(|| Snapshotter::new(&client, &config, &driver).run());
                tokio::join!(provisioner, snapshotter);
            }
        }
    }
}
