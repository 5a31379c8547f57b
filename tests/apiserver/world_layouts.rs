//! Clusters that differ: a Deployment that an operator owns, and one without a snapshotter.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, ResourceExt};
use locksmith::api::snapshot::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotSpec};
use locksmith::demo::world::{Layout, Timings, WorldConfig, lease_names, provisioner_deployment};
use serde_json::json;

use crate::world_ground::Ground;

/// What `kubectl rollout restart` writes.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

fn annotation(deployment: &Deployment, key: &str) -> Option<String> {
    let template = &deployment.spec.as_ref()?.template;
    template
        .metadata
        .as_ref()?
        .annotations
        .as_ref()?
        .get(key)
        .cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn an_operator_takes_a_rollout_restart_back_and_a_missing_snapshotter_leaves_snapshots_untouched()
 {
    let config = WorldConfig {
        layout: Layout::OperatorManaged,
        snapshotter: false,
        ..WorldConfig::new(Timings::fast())
    };
    let (namespace, name) = (config.namespace.clone(), provisioner_deployment(&config));
    let driver = config.driver.clone();
    let ground = Ground::start(config).await;
    let client = ground.testbed.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let available = |deployment: Option<&Deployment>| {
        deployment.and_then(|deployment| deployment.status.as_ref()?.available_replicas) == Some(2)
    };
    let deployment = ground
        .testbed
        .until(deployments.clone(), &name, available)
        .await
        .unwrap();
    assert_eq!(deployment.owner_references()[0].kind, "Driver");

    let restart = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: Time(Timestamp::now())}}}}});
    let restarted = ground
        .person()
        .merge(&deployments, &name, &restart)
        .await
        .unwrap();
    assert!(annotation(&restarted, RESTARTED_AT).is_some());
    let reverted = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            deployment.metadata.generation > restarted.metadata.generation
                && annotation(deployment, RESTARTED_AT).is_none()
        })
    };
    ground
        .testbed
        .until(deployments.clone(), &name, reverted)
        .await;

    // What is asked for in the Driver stays.
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("csi.ceph.io", "v1", "Driver"));
    let drivers: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let asked = json!({"spec": {"controllerPlugin": {"annotations": {"restart": "1"}}}});
    drivers
        .patch(&driver, &PatchParams::default(), &Patch::Merge(asked))
        .await
        .unwrap();
    let rolled = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| annotation(deployment, "restart").is_some())
    };
    ground.testbed.until(deployments, &name, rolled).await;

    let app = ground.app("unsnapped").await;
    let mut snapshot = VolumeSnapshot::new("backup", VolumeSnapshotSpec::default());
    snapshot.spec.source.persistent_volume_claim_name = Some(app.name.clone());
    snapshot.spec.volume_snapshot_class_name =
        Some(locksmith::demo::world::SNAPSHOT_CLASS.to_owned());
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), &app.namespace);
    let snapshot = ground
        .person()
        .create(&snapshots, &snapshot)
        .await
        .unwrap()
        .unwrap();
    let contents: Api<VolumeSnapshotContent> = Api::all(client.clone());
    let content = format!("snapcontent-{}", snapshot.uid().unwrap());
    let made = |content: Option<&VolumeSnapshotContent>| content.is_some();
    let content = ground
        .testbed
        .until(contents, &content, made)
        .await
        .unwrap();
    assert_eq!(content.status, None);
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    let (provisioner, snapshotter) = lease_names(&driver);
    assert!(leases.get_opt(&provisioner).await.unwrap().is_some());
    assert_eq!(
        leases.get_opt(&snapshotter).await.unwrap(),
        None,
        "nobody leads what nobody runs"
    );
}
