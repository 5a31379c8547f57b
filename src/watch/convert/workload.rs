//! Pods, Deployments, Leases and Namespaces.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

use super::{controller, has, meta, some_sym, sym};
use crate::api::{OPT_OUT_LABEL, RESTART_ANNOTATION};
use crate::gates::STOP_ANNOTATION;
use crate::model::Sym;
use crate::model::records::{Deployment, Lease, Namespace, Pod};

/// A Pod, of which only this is read: there are many, and most of one is never asked about.
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
struct LeanSpec {
    #[serde(default)]
    volumes: Vec<LeanVolume>,
    #[serde(default)]
    containers: Vec<LeanContainer>,
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
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanStatus {
    phase: Option<String>,
    #[serde(default)]
    conditions: Vec<LeanCondition>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct LeanCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// A Pod. Container names are kept only of those that have a CSI sidecar.
pub fn pod(object: &LeanPod) -> Option<Pod> {
    let containers = &object.spec.containers;
    let provisioner = containers
        .iter()
        .any(|container| container.name.starts_with("csi-"));
    let phase = object.status.phase.as_deref();
    let labels = object.metadata.labels.as_ref();
    Some(Pod {
        meta: meta(&object.metadata)?,
        running: phase == Some("Running"),
        ready: object
            .status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True"),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        claims: object
            .spec
            .volumes
            .iter()
            .filter_map(|volume| Some(sym(&volume.persistent_volume_claim.as_ref()?.claim_name)))
            .collect(),
        containers: containers
            .iter()
            .filter(|_| provisioner)
            .map(|container| sym(&container.name))
            .collect::<BTreeSet<Sym>>()
            .into_iter()
            .collect(),
        controller: controller(&object.metadata).map(|owner| (sym(&owner.kind), sym(&owner.name))),
        template_hash: some_sym(labels.and_then(|labels| labels.get("pod-template-hash"))),
    })
}

/// A Deployment.
pub fn deployment(object: &apps::Deployment) -> Option<Deployment> {
    let spec = object.spec.as_ref()?;
    let template = spec.template.metadata.as_ref();
    let annotations = template.and_then(|template| template.annotations.as_ref());
    Some(Deployment {
        meta: meta(&object.metadata)?,
        replicas: spec.replicas.unwrap_or(1),
        controller: controller(&object.metadata).map(|owner| {
            (
                sym(&owner.kind),
                sym(owner.api_version.split('/').next().unwrap_or_default()),
            )
        }),
        restarted_by: some_sym(annotations.and_then(|all| all.get(RESTART_ANNOTATION))),
    })
}

/// A Lease.
pub fn lease(object: &coordination::Lease) -> Option<Lease> {
    let spec = object.spec.as_ref()?;
    Some(Lease {
        namespace: sym(object.metadata.namespace.as_deref()?),
        name: sym(object.metadata.name.as_deref()?),
        holder: some_sym(spec.holder_identity.as_ref()),
        acquired: spec.acquire_time.as_ref().map(|time| time.0),
        renewed: spec.renew_time.as_ref().map(|time| time.0),
        seconds: spec.lease_duration_seconds.unwrap_or_default(),
    })
}

/// A Namespace.
pub fn namespace(object: &core::Namespace) -> Option<Namespace> {
    Some(Namespace {
        name: sym(object.metadata.name.as_deref()?),
        terminating: object.metadata.deletion_timestamp.is_some(),
        opted_out: has(object.metadata.labels.as_ref(), OPT_OUT_LABEL),
        stopped: has(object.metadata.annotations.as_ref(), STOP_ANNOTATION),
    })
}
