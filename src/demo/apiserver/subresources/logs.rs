//! `pods/log`: streams a container's log from the kubelet of the pod's node.
//!
//! Upstream: `pkg/registry/core/pod/strategy.go` (`LogLocation`) of Kubernetes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use kube::client::Body as ClientBody;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::failure::{Failure, Result};
use crate::json::{Json as _, Meta as _};
use crate::request::Query;
use crate::write::Target;

/// Options that are passed to the kubelet unchanged.
const PASSED_ON: [&str; 8] = [
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "timestamps",
    "stream",
];

/// Location of a container's log.
#[derive(Debug, PartialEq)]
pub struct Location {
    /// `https://host:port` of the kubelet.
    pub kubelet: String,
    /// Path and query.
    pub path: String,
}

impl Cluster {
    /// Location of the requested log; `None` until the pod is on a node.
    pub fn log_location(&self, target: &Target, query: &Query) -> Result<Option<Location>> {
        let pod = self.get(&target.resource, &target.namespace, &target.name)?;
        let container = container(&pod, query.get("container"))?;
        let node = pod.text("/spec/nodeName");
        if node.is_empty() {
            return Ok(None);
        }
        let node = self
            .store
            .get("/nodes", "", node)
            .ok_or_else(|| Failure::internal(format!("nodes {node:?} not found")))?;
        let options: Vec<_> = PASSED_ON
            .into_iter()
            .map(|name| (name, query.get(name)))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        let separator = if options.is_empty() { "" } else { "?" };
        Ok(Some(Location {
            kubelet: kubelet(node)?,
            path: format!(
                "/containerLogs/{}/{}/{container}{separator}{}",
                pod.namespace(),
                pod.name(),
                options.join("&")
            ),
        }))
    }
}

/// The requested container, or the only one.
fn container<'a>(pod: &'a Value, asked: &'a str) -> Result<&'a str> {
    let name = pod.name();
    let all: Vec<_> = ["/spec/initContainers", "/spec/containers"]
        .into_iter()
        .flat_map(|list| pod.items(list))
        .map(|c| c.text("/name"))
        .collect();
    match (asked, pod.items("/spec/containers")) {
        ("", [only]) => Ok(only.text("/name")),
        ("", _) => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
        (asked, _) if all.contains(&asked) => Ok(asked),
        (asked, _) => Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        ))),
    }
}

fn kubelet(node: &Arc<Value>) -> Result<String> {
    let address = node
        .items("/status/addresses")
        .iter()
        .find(|a| a.text("/type") == "InternalIP")
        .map(|a| a.text("/address"))
        .ok_or_else(|| {
            Failure::internal(format!(
                "no preferred addresses found on node {:?}",
                node.name()
            ))
        })?;
    let port = node
        .integer("/status/daemonEndpoints/kubeletEndpoint/Port")
        .unwrap_or(10250);
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    Ok(format!("https://{host}:{port}"))
}

/// Percent-encodes a query value.
fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

/// Streams the kubelet's response. Kubelets have self-signed certificates.
pub async fn stream(location: Location) -> Result<Response> {
    let url = location
        .kubelet
        .parse()
        .map_err(|e| Failure::internal(format!("{}: {e}", location.kubelet)))?;
    let mut config = kube::Config::new(url);
    config.accept_invalid_certs = true;
    config.default_retry = false;
    let client = kube::Client::try_from(config).map_err(Failure::internal)?;
    let request = Request::get(&location.path)
        .body(ClientBody::empty())
        .map_err(Failure::internal)?;
    let failed = |e| {
        let Location { kubelet, path } = &location;
        Failure::internal(format!("Get {:?}: {e}", format!("{kubelet}{path}")))
    };
    let answer = client.send(request).await.map_err(failed)?;
    if answer.status().is_success() {
        let mut response = Response::new(Body::new(answer.into_body()));
        let text = axum::http::HeaderValue::from_static("text/plain");
        response.headers_mut().insert("content-type", text);
        return Ok(response);
    }
    let code = answer.status().as_u16();
    let body = axum::body::to_bytes(Body::new(answer.into_body()), 64 * 1024).await;
    let text = body.map_err(Failure::internal)?;
    let text = String::from_utf8_lossy(&text);
    Err(Failure::upstream(code, text.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_is_optional_only_if_there_is_one() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&pod, "").expect("the only one"), "a");
        pod["spec"]["containers"] = json!([{"name": "a"}, {"name": "b"}]);
        let refusal = container(&pod, "").expect_err("ambiguous");
        assert_eq!(
            refusal.message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(container(&pod, "c").expect_err("absent").code, 400);
    }
}
