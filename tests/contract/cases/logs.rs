//! Logs of containers, streamed through the server from the node's kubelet.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use futures::{AsyncBufReadExt as _, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::json;
use tokio::sync::Notify;

use super::Outcome;
use crate::ground::{Ground, same, says, text};

/// A kubelet with a self-signed certificate. The container `main` returns the request; `slow` has a second line once
/// `go_on` is notified; others do not exist.
async fn kubelet(go_on: Arc<Notify>) -> Result<SocketAddr> {
    let log = async move |Path((namespace, pod, container)): Path<(String, String, String)>,
                          RawQuery(query): RawQuery| {
        match container.as_str() {
            "main" => {
                let asked = format!("{namespace}/{pod}?{}\n", query.unwrap_or_default());
                (StatusCode::OK, Body::from(asked))
            }
            "slow" => {
                let first = stream::once(async { Ok("first\n") });
                let second = stream::once(async move {
                    go_on.notified().await;
                    Ok("second\n")
                });
                let lines = first.chain(second).map(|l: Result<_>| l.map(Bytes::from));
                (StatusCode::OK, Body::from_stream(lines))
            }
            _ => (
                StatusCode::BAD_REQUEST,
                Body::from("no such container here"),
            ),
        }
    };
    let app = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(log));
    let signed = rcgen::generate_simple_self_signed(["node".to_owned()])?;
    let key = signed.signing_key.serialize_der();
    let tls = RustlsConfig::from_der(vec![signed.cert.der().to_vec()], key).await?;
    let handle = axum_server::Handle::new();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = axum_server::bind_rustls(address, tls).handle(handle.clone());
    tokio::spawn(server.serve(app.into_make_service()));
    handle
        .listening()
        .await
        .context("the kubelet does not listen")
}

/// A pod on a node whose kubelet listens at this address.
async fn pod_on(g: &Ground, kubelet: SocketAddr) -> Outcome {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": g.namespace}});
    g.post("/api/v1/nodes", node).await?.is(201)?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": kubelet.ip()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
    }});
    g.merge(&format!("/api/v1/nodes/{}/status", g.namespace), status)
        .await?
        .is(200)?;
    let containers = ["main", "slow", "unknown"].map(|name| json!({"name": name, "image": "none"}));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"nodeName": g.namespace, "containers": containers},
    });
    g.post(&g.core("pods"), pod).await?.is(201).map(drop)
}

pub async fn a_log_comes_from_the_pods_kubelet(g: Ground) -> Outcome {
    pod_on(&g, kubelet(Arc::default()).await?).await?;
    let query = "container=main&tailLines=5&timestamps=true&sinceTime=2026-01-01T00:00:00Z";
    let log = g
        .get(&g.core(&format!("pods/a/log?{query}")))
        .await?
        .is(200)?;
    let log = log.as_str().context("no text")?.trim();
    let (asked, options) = log.split_once('?').context("no options")?;
    same("container", asked, format!("{}/a", g.namespace))?;
    let mut options: Vec<_> = options.split('&').map(|o| o.replace("%3A", ":")).collect();
    options.sort();
    same(
        "options",
        options,
        json!([
            "sinceTime=2026-01-01T00:00:00Z",
            "tailLines=5",
            "timestamps=true"
        ]),
    )
}

pub async fn a_followed_log_comes_line_by_line(g: Ground) -> Outcome {
    let go_on = Arc::new(Notify::new());
    pod_on(&g, kubelet(go_on.clone()).await?).await?;
    let pods: Api<Pod> = Api::namespaced(g.client.clone(), &g.namespace);
    let follow = LogParams {
        follow: true,
        container: Some("slow".to_owned()),
        ..LogParams::default()
    };
    let mut lines = pods.log_stream("a", &follow).await?.lines();
    same("first", lines.next().await.context("no line")??, "first")?;
    go_on.notify_one();
    same("second", lines.next().await.context("no line")??, "second")?;
    same("end", lines.next().await.is_none(), true)
}

pub async fn a_kubelets_refusal_is_passed_on(g: Ground) -> Outcome {
    pod_on(&g, kubelet(Arc::default()).await?).await?;
    let status = g
        .get(&g.core("pods/a/log?container=unknown"))
        .await?
        .refused(400, "BadRequest")?;
    says(&status, "no such container here")
}

pub async fn a_kubelet_that_does_not_answer_is_an_internal_error(g: Ground) -> Outcome {
    // Nothing listens on port 1.
    pod_on(&g, SocketAddr::from(([127, 0, 0, 1], 1))).await?;
    let status = g.get(&g.core("pods/a/log?container=main")).await?.is(500)?;
    same("status", text(&status, "/status"), "Failure")?;
    says(
        &status,
        &format!(
            "Get \"https://127.0.0.1:1/containerLogs/{}/a/main\": ",
            g.namespace
        ),
    )
}
