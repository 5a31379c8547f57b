//! Pods, their workloads, Nodes, Leases and Namespaces.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use super::{controller, has, meta, shared, some_shared};
use crate::api::STOP_ANNOTATION;
use crate::api::{OPT_OUT_LABEL, RESTART_ANNOTATION};
use crate::api::{SharedStr, Uid};
use crate::config::WorkloadKind;
use crate::model::records::{Lease, Namespace, Node, Pod, Sidecars, Workload};

/// The fields of a Pod that are read. There are many pods, and most of their fields are never needed.
#[derive(Resource, Clone, Debug, Default, Deserialize, Serialize)]
#[resource(inherit = "core::Pod")]
pub struct LeanPod {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: LeanSpec,
    #[serde(default)]
    status: LeanStatus,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeanSpec {
    #[serde(default)]
    volumes: Vec<LeanVolume>,
    #[serde(default)]
    containers: Vec<LeanContainer>,
    hostname: Option<String>,
    node_name: Option<String>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeanVolume {
    persistent_volume_claim: Option<LeanClaim>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeanClaim {
    claim_name: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanContainer {
    name: String,
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LeanStatus {
    phase: Option<String>,
    #[serde(default)]
    conditions: Vec<LeanCondition>,
    #[serde(default)]
    container_statuses: Vec<LeanContainerStatus>,
    #[serde(default)]
    init_container_statuses: Vec<LeanContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanContainerStatus {
    #[serde(default)]
    state: LeanContainerState,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanContainerState {
    running: Option<Happened>,
    terminated: Option<Happened>,
}

/// The presence of the field; its content is not read.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Happened {}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Arguments in which a CSI driver's name is given: of ceph-csi and csi-driver-nfs, of others, of democratic-csi.
const DRIVER_NAME_FLAGS: [&str; 3] = ["--drivername", "--driver-name", "--csi-name"];

/// The driver that the arguments name; a reference to an environment variable is ignored.
fn named_driver(containers: &[LeanContainer]) -> Option<SharedStr> {
    let named = |args: &[String]| {
        args.iter().enumerate().find_map(|(at, arg)| {
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (&**arg, args.get(at + 1).map(String::as_str)),
            };
            let value = value.filter(|_| DRIVER_NAME_FLAGS.contains(&flag))?;
            (!value.starts_with('$')).then(|| shared(value))
        })
    };
    containers
        .iter()
        .find_map(|container| named(&container.args))
}

/// Whether the kubelet has reported every container as terminated, which it does before it lets the pod's object be
/// removed.
fn has_ended(pod: &LeanPod) -> bool {
    let status = &pod.status;
    let terminated = |it: &LeanContainerStatus| it.state.terminated.is_some();
    pod.metadata.deletion_timestamp.is_some()
        && status.container_statuses.len() >= pod.spec.containers.len()
        && status.container_statuses.iter().all(terminated)
        && !status
            .init_container_statuses
            .iter()
            .any(|it| it.state.running.is_some())
}

fn sidecars(pod: &LeanPod) -> Option<Box<Sidecars>> {
    let spec = &pod.spec;
    let names: BTreeSet<&String> = spec.containers.iter().map(|it| &it.name).collect();
    let sidecars = Sidecars {
        containers: names.into_iter().map(|name| shared(name)).collect(),
        ..Sidecars::default()
    };
    (sidecars.provisions() || sidecars.snapshots()).then(|| {
        Box::new(Sidecars {
            driver: named_driver(&spec.containers),
            hostname: some_shared(spec.hostname.as_ref()),
            node: some_shared(spec.node_name.as_ref()),
            host_network: spec.host_network,
            ended: has_ended(pod),
            ..sidecars
        })
    })
}

fn is_ready(status: &LeanStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.kind == "Ready" && c.status == "True")
}

/// Converts a Pod.
pub fn pod(object: &LeanPod) -> Option<Pod> {
    let phase = object.status.phase.as_deref();
    let labels = object.metadata.labels.as_ref();
    Some(Pod {
        meta: meta(&object.metadata)?,
        running: phase == Some("Running"),
        ready: is_ready(&object.status),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        claims: object
            .spec
            .volumes
            .iter()
            .filter_map(|volume| Some(shared(&volume.persistent_volume_claim.as_ref()?.claim_name)))
            .collect(),
        sidecars: sidecars(object),
        controller: controller(&object.metadata)
            .map(|owner| (shared(&owner.kind), shared(&owner.name))),
        template_hash: some_shared(labels.and_then(|labels| labels.get("pod-template-hash"))),
    })
}

/// Converts a Deployment.
pub fn deployment(object: &apps::Deployment) -> Option<Workload> {
    let spec = object.spec.as_ref()?;
    let template = spec.template.metadata.as_ref();
    let annotations = template.and_then(|template| template.annotations.as_ref());
    let kind = WorkloadKind::Deployment;
    Some(Workload {
        restarted_by: some_shared(annotations.and_then(|all| all.get(RESTART_ANNOTATION))),
        ..workload(kind, &object.metadata, spec.replicas.unwrap_or(1))?
    })
}

/// Converts a StatefulSet.
pub fn stateful_set(object: &apps::StatefulSet) -> Option<Workload> {
    let replicas = object.spec.as_ref()?.replicas.unwrap_or(1);
    workload(WorkloadKind::StatefulSet, &object.metadata, replicas)
}

/// Converts a DaemonSet.
pub fn daemon_set(object: &apps::DaemonSet) -> Option<Workload> {
    let status = object.status.as_ref();
    let replicas = status.map_or(0, |status| status.desired_number_scheduled);
    workload(WorkloadKind::DaemonSet, &object.metadata, replicas)
}

fn workload(kind: WorkloadKind, metadata: &ObjectMeta, replicas: i32) -> Option<Workload> {
    Some(Workload {
        meta: meta(metadata)?,
        kind,
        replicas,
        controller: controller(metadata).map(|owner| {
            (
                shared(&owner.kind),
                shared(owner.api_version.split('/').next().unwrap_or_default()),
            )
        }),
        restarted_by: None,
    })
}

/// Converts a Lease.
pub fn lease(object: &coordination::Lease) -> Option<Lease> {
    let spec = object.spec.as_ref()?;
    Some(Lease {
        namespace: shared(object.metadata.namespace.as_deref()?),
        name: shared(object.metadata.name.as_deref()?),
        uid: Uid::from(object.metadata.uid.as_deref()?),
        holder: some_shared(spec.holder_identity.as_ref()),
        acquired: spec.acquire_time.as_ref().map(|time| time.0),
        renewed: spec.renew_time.as_ref().map(|time| time.0),
        seconds: spec.lease_duration_seconds.unwrap_or_default(),
    })
}

/// The fields of a Node that are read; the status of a Node lists all of its images.
#[derive(Resource, Clone, Debug, Default, Deserialize, Serialize)]
#[resource(inherit = "core::Node")]
pub struct LeanNode {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    status: LeanStatus,
}

/// Converts a Node.
pub fn node(object: &LeanNode) -> Option<Node> {
    Some(Node {
        name: shared(object.metadata.name.as_deref()?),
        ready: is_ready(&object.status),
    })
}

/// Converts a Namespace.
pub fn namespace(object: &core::Namespace) -> Option<Namespace> {
    Some(Namespace {
        name: shared(object.metadata.name.as_deref()?),
        terminating: object.metadata.deletion_timestamp.is_some(),
        opted_out: has(object.metadata.labels.as_ref(), OPT_OUT_LABEL),
        stopped: has(object.metadata.annotations.as_ref(), STOP_ANNOTATION),
    })
}
