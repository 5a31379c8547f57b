//! The snapshot controller works: it creates a content for a snapshot, and protects the source claim.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use locksmith::api::snapshot::{
    PVC_AS_SOURCE_FINALIZER, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent,
};

use crate::testbed::Testbed;

const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn snapshot_gets_a_content_and_protects_its_claim() {
    let testbed = Testbed::shared().await;
    let client = testbed.client();
    let namespace = testbed.namespace("snapshots").await;
    let create = PostParams::default();

    // Class and volume are cluster-scoped, so they are named after the namespace.
    let class =
        json!({"metadata": {"name": namespace}, "driver": DRIVER, "deletionPolicy": "Delete"});
    let classes: Api<VolumeSnapshotClass> = Api::all(client.clone());
    classes
        .create(&create, &serde_json::from_value(class).unwrap())
        .await
        .unwrap();
    let volume = json!({
        "metadata": {"name": namespace},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": "prowlarr"},
            "csi": {"driver": DRIVER, "volumeHandle": "0001-prowlarr"},
        },
    });
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    volumes
        .create(&create, &serde_json::from_value(volume).unwrap())
        .await
        .unwrap();
    let claim = json!({
        "metadata": {"name": "prowlarr"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "volumeName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    claims
        .create(&create, &serde_json::from_value(claim).unwrap())
        .await
        .unwrap();
    let bound = |claim: Option<&PersistentVolumeClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some("Bound")
    };
    testbed.until(claims.clone(), "prowlarr", bound).await;

    let snapshot = json!({
        "metadata": {"name": "volsync-prowlarr-src"},
        "spec": {"volumeSnapshotClassName": namespace, "source": {"persistentVolumeClaimName": "prowlarr"}},
    });
    let snapshots: Api<VolumeSnapshot> = Api::namespaced(client.clone(), &namespace);
    let snapshot = snapshots
        .create(&create, &serde_json::from_value(snapshot).unwrap())
        .await
        .unwrap();
    let contents: Api<VolumeSnapshotContent> = Api::all(client);
    let name = format!("snapcontent-{}", snapshot.uid().unwrap());
    let content = testbed
        .until(
            contents,
            &name,
            |content: Option<&VolumeSnapshotContent>| content.is_some(),
        )
        .await;
    let content = content.unwrap();
    assert_eq!(content.spec.driver, DRIVER);
    assert_eq!(
        content.spec.source.volume_handle.as_deref(),
        Some("0001-prowlarr")
    );
    assert_eq!(content.spec.volume_snapshot_ref.uid, snapshot.uid());
    assert_eq!(content.status, None, "no sidecar runs here");

    // A claim that is deleted under its unready snapshot remains Terminating.
    claims
        .delete("prowlarr", &DeleteParams::default())
        .await
        .unwrap();
    let terminating = |claim: Option<&PersistentVolumeClaim>| {
        claim.is_some_and(|claim| {
            claim.metadata.deletion_timestamp.is_some()
                && claim.finalizers() == [PVC_AS_SOURCE_FINALIZER]
        })
    };
    testbed.until(claims, "prowlarr", terminating).await;
}
