//! ceph-csi-operator: creates the provisioner's Deployment of a `Driver`, and keeps it as it wants it.
//!
//! The operator watches its Deployments and overwrites any change of the Pod template, annotations included, so that the
//! `restartedAt` of a rollout restart is removed. Only annotations in the Driver persist.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor::Actor;
use super::config::WorldConfig;
use super::control::{control, watching};
use super::workloads;

/// `csi.ceph.io/v1`: a CSI driver to deploy, with only the fields used here.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "csi.ceph.io",
    version = "v1",
    kind = "Driver",
    plural = "drivers",
    namespaced
)]
#[serde(rename_all = "camelCase")]
pub(super) struct DriverSpec {
    /// The provisioner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) controller_plugin: Option<ControllerPlugin>,
}

/// Settings of the provisioner's Pods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub(super) struct ControllerPlugin {
    /// Annotations of the Pods; a change starts a rollout of the Deployment.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Operator {
    actor: Actor,
    config: WorldConfig,
}

/// Runs until dropped, once the `Driver` kind is served.
pub(super) async fn run(client: Client, config: WorldConfig) {
    let actor = Actor::new(client, "ceph-csi-operator");
    let definitions = actor.all::<CustomResourceDefinition>();
    while let Err(error) = await_condition(
        definitions.clone(),
        Driver::crd_name(),
        conditions::is_crd_established(),
    )
    .await
    {
        tracing::debug!(%error, "waiting for the Driver kind");
        tokio::time::sleep(config.timings.retry.first).await;
    }
    let drivers = Controller::new(actor.all::<Driver>(), watching())
        .owns(actor.all::<Deployment>(), watching());
    let retry = config.timings.retry;
    control(drivers, Operator { actor, config }, retry, reconcile).await;
}

async fn reconcile(driver: Arc<Driver>, operator: Arc<Operator>) -> Result<Action, kube::Error> {
    let mut wanted = workloads::provisioner(&operator.config);
    wanted.metadata.owner_references = driver.controller_owner_ref(&()).map(|owner| vec![owner]);
    let annotations = driver
        .spec
        .controller_plugin
        .clone()
        .unwrap_or_default()
        .annotations;
    if let Some(template) = wanted
        .spec
        .as_mut()
        .and_then(|spec| spec.template.metadata.as_mut())
    {
        template.annotations = (!annotations.is_empty()).then_some(annotations);
    }
    let deployments: Api<Deployment> = operator
        .actor
        .within(&driver.namespace().unwrap_or_default());
    let name = wanted.name_any();
    match deployments.get_opt(&name).await? {
        None => drop(operator.actor.create(&deployments, &wanted).await?),
        Some(found) if made_by(&found) == made_by(&wanted) => {}
        Some(mut found) => {
            found.spec = wanted.spec;
            operator.actor.replace(&deployments, &name, &found).await?;
        }
    }
    Ok(Action::await_change())
}

/// The fields that the operator would revert; the API server fills in the others with defaults.
fn made_by(deployment: &Deployment) -> (Option<i32>, BTreeMap<String, String>) {
    let spec = deployment.spec.clone().unwrap_or_default();
    let annotations = spec
        .template
        .metadata
        .and_then(|metadata| metadata.annotations);
    (spec.replicas, annotations.unwrap_or_default())
}
