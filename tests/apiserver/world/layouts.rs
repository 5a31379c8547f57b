//! Other layouts: a Deployment that an operator owns, and one without a snapshotter.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, ResourceExt};
use locksmith::api::snapshot::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotSpec};
use locksmith::demo::world::{
    Layout, SNAPSHOT_CLASS, Timings, WorldConfig, lease_names, provisioner_deployment,
};
use serde_json::json;

use crate::world::ground::Ground;

/// Set by `kubectl rollout restart`.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn operator_reverts_a_rollout_restart() {
    let config = WorldConfig {
        layout: Layout::OperatorManaged,
        ..WorldConfig::new(Timings::fast())
    };
    let ground = Ground::start(config).await;
    let available = |one: &Deployment| {
        one.status
            .as_ref()
            .and_then(|status| status.available_replicas)
            == Some(2)
    };
    let deployment = ground.provisioner(available).await;
    assert_eq!(deployment.owner_references()[0].kind, "Driver");

    let annotations = json!({RESTARTED_AT: Time(Timestamp::now())});
    let restart = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let deployments = ground.deployments();
    let restarted = ground
        .person()
        .merge(&deployments, &deployment.name_any(), &restart)
        .await
        .unwrap();
    assert!(annotation(&restarted, RESTARTED_AT).is_some());
    let generation = restarted.metadata.generation;
    let reverted = |one: &Deployment| {
        one.metadata.generation > generation && annotation(one, RESTARTED_AT).is_none()
    };
    ground.provisioner(reverted).await;

    // Annotations in the Driver persist.
    let config = ground.world.config();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("csi.ceph.io", "v1", "Driver"));
    let drivers: Api<DynamicObject> =
        Api::namespaced_with(ground.testbed.client(), &config.namespace, &kind);
    let asked = json!({"spec": {"controllerPlugin": {"annotations": {"restart": "1"}}}});
    drivers
        .patch(
            &config.driver,
            &PatchParams::default(),
            &Patch::Merge(asked),
        )
        .await
        .unwrap();
    ground
        .provisioner(|one| annotation(one, "restart").as_deref() == Some("1"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn content_without_snapshotter_gets_no_status() {
    let config = WorldConfig {
        snapshotter: false,
        ..WorldConfig::new(Timings::fast())
    };
    let ground = Ground::start(config).await;
    let client = ground.testbed.client();
    let app = ground.app("unsnapped").await;
    let mut snapshot = VolumeSnapshot::new("backup", VolumeSnapshotSpec::default());
    snapshot.spec.source.persistent_volume_claim_name = Some(app.name.clone());
    snapshot.spec.volume_snapshot_class_name = Some(SNAPSHOT_CLASS.to_owned());
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
    let config = ground.world.config();
    let leases: Api<Lease> = Api::namespaced(client, &config.namespace);
    let (provisioner, snapshotter) = lease_names(&config.driver);
    assert!(leases.get_opt(&provisioner).await.unwrap().is_some());
    assert_eq!(
        leases.get_opt(&snapshotter).await.unwrap(),
        None,
        "nobody leads what nobody runs"
    );
}

impl Ground {
    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.testbed.client(), &self.world.config().namespace)
    }

    /// The provisioner's Deployment, once `wanted` accepts it.
    async fn provisioner(&self, wanted: impl Fn(&Deployment) -> bool) -> Deployment {
        let name = provisioner_deployment(self.world.config());
        let wanted = |deployment: Option<&Deployment>| deployment.is_some_and(&wanted);
        // On the heap: a Deployment is large, and so is the future that waits for one.
        let deployment = Box::pin(self.testbed.until(self.deployments(), &name, wanted)).await;
        deployment.expect("the deployment is there")
    }
}

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
