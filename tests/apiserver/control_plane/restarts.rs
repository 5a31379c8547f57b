//! The control plane is killed and restarted with its data.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::testbed::{Options, Testbed};

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn api_server_and_etcd_restart_with_their_data() {
    let testbed = Testbed::start(Options {
        controllers: false,
        ..Options::default()
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(testbed.client(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "note"}})).unwrap();
    let created = maps.create(&PostParams::default(), &map).await.unwrap();

    testbed.stop_apiserver();
    let error = maps.get("note").await.unwrap_err();
    assert!(
        !matches!(error, kube::Error::Api(_)),
        "answered by a stopped server: {error}"
    );
    testbed.start_apiserver().await;
    assert_eq!(
        maps.get("note").await.unwrap().metadata.uid,
        created.metadata.uid
    );

    testbed.stop_etcd().await;
    testbed.start_etcd().await;
    assert_eq!(
        maps.get("note").await.unwrap().metadata.uid,
        created.metadata.uid
    );
}
