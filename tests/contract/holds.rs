//! The kind of a hold, the kinds it affects, and the policy that enforces it.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, CustomResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::holds::policy;
use serde_json::json;

/// The namespace whose holds are enforced.
pub const NAMESPACE: &str = "contract-holds";

/// The objects that both servers need. A real one has the published VolumeSnapshot CRDs.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![SnapshotHold::crd()]
}

/// The same for a server that has neither kind.
pub async fn install_kinds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in [SnapshotHold::crd(), VolumeSnapshot::crd()] {
        api.create(&PostParams::default(), &kind).await.unwrap();
    }
}

/// The policy, its binding, and the namespace of its params.
pub async fn install_policy(client: &Client) {
    let params = PostParams::default();
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    Api::all(client.clone())
        .create(&params, &namespace)
        .await
        .unwrap();
    let (policy, binding) = policy::objects(NAMESPACE).unwrap();
    Api::all(client.clone())
        .create(&params, &policy)
        .await
        .unwrap();
    Api::all(client.clone())
        .create(&params, &binding)
        .await
        .unwrap();
}
