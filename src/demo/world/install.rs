//! Installs the objects of a Rook cluster before any app is deployed.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, CustomResourceExt};

use super::actor::Actor;
use super::config::{Layout, WorldConfig};
use super::operator::{Driver, DriverSpec};
use super::{Error, workloads};
use locksmith_api::snapshot::{VolumeSnapshotClass, VolumeSnapshotClassBody};

/// StorageClass with immediate binding.
pub const IMMEDIATE_CLASS: &str = "ceph-block";
/// StorageClass that waits for the first Pod to mount the claim.
pub const WAITING_CLASS: &str = "ceph-block-wait";
/// VolumeSnapshotClass, with deletion policy `Delete`.
pub const SNAPSHOT_CLASS: &str = "csi-ceph-blockpool";

/// Creates the missing objects.
pub(super) async fn install(client: &Client, config: &WorldConfig) -> Result<(), Error> {
    let actor = Actor::new(client.clone(), "rook");
    let namespace = Namespace {
        metadata: named(&config.namespace),
        ..Namespace::default()
    };
    actor.create(&actor.all(), &namespace).await?;
    for (name, mode) in [
        (IMMEDIATE_CLASS, "Immediate"),
        (WAITING_CLASS, "WaitForFirstConsumer"),
    ] {
        actor
            .create(&actor.all(), &storage_class(config, name, mode))
            .await?;
    }
    let body = VolumeSnapshotClassBody {
        driver: config.driver.clone(),
        deletion_policy: "Delete".to_owned(),
    };
    let class = VolumeSnapshotClass::new(SNAPSHOT_CLASS, body);
    actor.create(&actor.all(), &class).await?;
    actor
        .create(
            &actor.within::<DaemonSet>(&config.namespace),
            &workloads::node_plugin(config),
        )
        .await?;
    match config.layout {
        Layout::Classic | Layout::HostNetwork => {
            actor
                .create(
                    &actor.within::<Deployment>(&config.namespace),
                    &workloads::provisioner(config),
                )
                .await?;
        }
        Layout::StatefulSet => {
            let sets = actor.within::<StatefulSet>(&config.namespace);
            actor
                .create(&sets, &workloads::provisioner_set(config))
                .await?;
        }
        Layout::OperatorManaged => install_driver(&actor, config).await?,
    }
    Ok(())
}

/// The operator creates the Deployment from this.
async fn install_driver(actor: &Actor, config: &WorldConfig) -> Result<(), Error> {
    let definitions: Api<CustomResourceDefinition> = actor.all();
    actor.create(&definitions, &Driver::crd()).await?;
    await_condition(
        definitions,
        Driver::crd_name(),
        conditions::is_crd_established(),
    )
    .await?;
    let driver = Driver::new(&config.driver, DriverSpec::default());
    actor
        .create(&actor.within::<Driver>(&config.namespace), &driver)
        .await?;
    Ok(())
}

fn storage_class(config: &WorldConfig, name: &str, mode: &str) -> StorageClass {
    StorageClass {
        metadata: named(name),
        provisioner: config.driver.clone(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some(mode.to_owned()),
        ..StorageClass::default()
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}
