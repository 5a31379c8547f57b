//! A case's own namespace, and short forms of requests.

use anyhow::{Context as _, Result, anyhow, ensure};
use axum::http::{HeaderValue, Request};
use futures::{AsyncBufReadExt as _, Stream, TryStreamExt as _};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The environment of a case.
#[derive(Clone)]
pub struct Ground {
    pub client: Client,
    pub namespace: String,
}

/// Response of the server.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

pub const MERGE: &str = "application/merge-patch+json";
pub const JSON: &str = "application/json-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

impl Ground {
    pub async fn new(client: Client) -> Result<Self> {
        let mut ground = Self {
            client,
            namespace: String::new(),
        };
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"generateName": "contract-"},
        });
        let created = ground
            .post("/api/v1/namespaces", namespace)
            .await?
            .is(201)?;
        text(&created, "/metadata/name").clone_into(&mut ground.namespace);
        Ok(ground)
    }

    /// Path of a core resource in the namespace.
    pub fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// Path of a resource of a group in the namespace: `apps/v1`, `deployments`.
    pub fn of(&self, version: &str, plural: &str) -> String {
        format!("/apis/{version}/namespaces/{}/{plural}", self.namespace)
    }

    /// Path of the custom resource that both servers have.
    pub fn widgets(&self) -> String {
        self.of("contract.locksmith.dev/v1", "widgets")
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, "", "application/json", Value::Null)
            .await
    }

    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Answer> {
        self.send("GET", path, "", accept, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Answer> {
        self.send("POST", path, "application/json", "application/json", body)
            .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Result<Answer> {
        self.send("PUT", path, "application/json", "application/json", body)
            .await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> Result<Answer> {
        self.send("PATCH", path, kind, "application/json", body)
            .await
    }

    pub async fn merge(&self, path: &str, body: Value) -> Result<Answer> {
        self.patch(MERGE, path, body).await
    }

    /// Server-side apply; `more` is appended to the query.
    pub async fn apply(
        &self,
        path: &str,
        manager: &str,
        more: &str,
        body: Value,
    ) -> Result<Answer> {
        self.patch(APPLY, &format!("{path}?fieldManager={manager}{more}"), body)
            .await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Result<Answer> {
        self.send(
            "DELETE",
            path,
            "application/json",
            "application/json",
            options,
        )
        .await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content: &str,
        accept: &str,
        body: Value,
    ) -> Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", accept);
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let answer = self.client.send(request.body(Body::from(bytes))?).await?;
        let code = answer.status().as_u16();
        let header = |v: &HeaderValue| v.to_str().map(ToOwned::to_owned).unwrap_or_default();
        let warnings = answer
            .headers()
            .get_all("warning")
            .iter()
            .map(header)
            .collect();
        let bytes =
            axum::body::to_bytes(axum::body::Body::new(answer.into_body()), usize::MAX).await?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Ok(Answer {
            code,
            body,
            warnings,
        })
    }

    /// The events of a watch.
    pub async fn watch(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Value>> + Unpin + use<>> {
        let lines = self
            .client
            .request_stream(Request::get(path).body(Vec::new())?)
            .await?
            .lines();
        Ok(Box::pin(lines.map_err(Into::into).and_then(async |line| {
            serde_json::from_str(&line).with_context(|| line.clone())
        })))
    }

    /// Reads an object until `holds` accepts the response, as controllers are delayed.
    pub async fn until(
        &self,
        path: &str,
        what: &str,
        holds: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        let mut last = self.get(path).await?;
        for _ in 0..400 {
            if holds(&last) {
                return Ok(last);
            }
            // The condition may be an absence, which a watch by name does not report.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            last = self.get(path).await?;
        }
        Err(anyhow!(
            "{path} never was {what}; last: {} {}",
            last.code,
            last.body
        ))
    }

    pub async fn until_gone(&self, path: &str) -> Result<()> {
        self.until(path, "gone", |a| a.code == 404).await.map(drop)
    }

    /// A new config map.
    pub async fn config_map(&self, name: &str) -> Result<Value> {
        self.post(&self.core("configmaps"), config_map(name))
            .await?
            .is(201)
    }

    /// A new widget.
    pub async fn widget(&self, name: &str, spec: Value) -> Result<Value> {
        self.post(&self.widgets(), widget(name, spec))
            .await?
            .is(201)
    }

    /// A new pod on the node with that name, or on none.
    pub async fn pod(&self, name: &str, node: &str) -> Result<Value> {
        let mut pod = pod(name);
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        self.post(&self.core("pods"), pod).await?.is(201)
    }
}

impl Answer {
    /// The body, if the response has this code.
    pub fn is(self, code: u16) -> Result<Value> {
        ensure!(
            self.code == code,
            "expected {code}, got {}: {}",
            self.code,
            self.body
        );
        Ok(self.body)
    }

    /// The Status of a refusal, if it has this code and reason.
    pub fn refused(self, code: u16, reason: &str) -> Result<Value> {
        let status = self.is(code)?;
        ensure!(text(&status, "/kind") == "Status", "not a Status: {status}");
        ensure!(
            text(&status, "/reason") == reason,
            "expected {reason:?}: {status}"
        );
        ensure!(status["code"] == code, "{status}");
        Ok(status)
    }
}

/// Fails unless both are equal.
pub fn same(what: &str, found: impl Into<Value>, expected: impl Into<Value>) -> Result<()> {
    let (found, expected) = (found.into(), expected.into());
    ensure!(
        found == expected,
        "{what}: found {found}, expected {expected}"
    );
    Ok(())
}

/// Fails unless the message contains `part`.
pub fn says(status: &Value, part: &str) -> Result<()> {
    let message = text(status, "/message");
    ensure!(message.contains(part), "expected {part:?} in {message:?}");
    Ok(())
}

pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

/// The fields of a Status's causes, sorted.
pub fn cause_fields(status: &Value) -> Vec<String> {
    let causes = at(status, "/details/causes");
    let mut fields: Vec<_> = causes
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| text(c, "/field").to_owned())
        .collect();
    fields.sort();
    fields
}

pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "a case hands over what it writes in place"
)]
pub fn widget(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "contract.locksmith.dev/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": spec,
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
    })
}

pub fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "none",
        },
    })
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/main:1"}]},
            },
        },
    })
}
