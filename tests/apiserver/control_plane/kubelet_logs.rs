//! Logs of pods are read through the API server from their node's kubelet, whatever its certificate.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{LogParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::testbed::Testbed;

/// Serves `containerLogs` on a free port, as a kubelet does.
async fn kubelet() -> SocketAddr {
    let log = async |Path((namespace, pod, container)): Path<(String, String, String)>| {
        format!("the log of {namespace}/{pod}/{container}\n")
    };
    let app = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(log));
    let signed = rcgen::generate_simple_self_signed(["node".to_owned()]).unwrap();
    let key = signed.signing_key.serialize_der();
    let tls = RustlsConfig::from_der(vec![signed.cert.der().to_vec()], key)
        .await
        .unwrap();
    let handle = axum_server::Handle::new();
    let server =
        axum_server::bind_rustls(SocketAddr::from(([127, 0, 0, 1], 0)), tls).handle(handle.clone());
    tokio::spawn(server.serve(app.into_make_service()));
    handle.listening().await.unwrap()
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn log_is_read_from_the_kubelet_of_the_pods_node() {
    let testbed = Testbed::shared().await;
    let address = kubelet().await;
    let namespace = testbed.namespace("kubelet").await;
    let nodes: Api<Node> = Api::all(testbed.client());
    let node = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address.ip()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}},
    }});
    nodes
        .patch_status(&namespace, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();

    let pods: Api<Pod> = Api::namespaced(testbed.client(), &namespace);
    let pod = json!({
        "metadata": {"name": "provisioner"},
        "spec": {"nodeName": namespace, "containers": [{"name": "csi-rbdplugin", "image": "none"}]},
    });
    pods.create(
        &PostParams::default(),
        &serde_json::from_value(pod).unwrap(),
    )
    .await
    .unwrap();
    let log = pods
        .logs("provisioner", &LogParams::default())
        .await
        .unwrap();
    assert_eq!(
        log,
        format!("the log of {namespace}/provisioner/csi-rbdplugin\n")
    );
}
