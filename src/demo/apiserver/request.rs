//! Reads requests: query options, JSON body, field manager.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use serde_json::Value;

use super::failure::{Cause, Failure, Result};
use super::list::ListOptions;
use super::resources::{Resource, Trait};
use super::selector::Selector;
use super::watch::WatchOptions;
use super::write::{Change, DeleteOptions, FieldValidation, WriteOptions};

/// Largest body accepted. Upstream: `MaxRequestBodyBytes`.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A query's parameters.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of a URI.
    pub fn of(uri: &Uri) -> Result<Self> {
        axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(pairs)| Self(pairs))
            .map_err(|e| Failure::bad_request(e.to_string()))
    }

    /// A parameter, or `""`.
    pub fn get(&self, name: &str) -> &str {
        let mut pairs = self.0.iter();
        pairs
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// Whether a parameter is set and true.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1")
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("invalid value {text:?} for parameter {name:?}"))
            }),
        }
    }

    fn selector(&self, resource: &Resource) -> Result<Selector> {
        Selector::parse(
            resource,
            self.get("labelSelector"),
            self.get("fieldSelector"),
        )
    }

    /// Options of a list.
    pub fn list(&self, resource: &Resource) -> Result<ListOptions> {
        Ok(ListOptions {
            selector: self.selector(resource)?,
            limit: self.number("limit")?.unwrap_or(0),
            continues: self.get("continue").to_owned(),
            version: self.get("resourceVersion").to_owned(),
        })
    }

    /// Options of a watch.
    pub fn watch(&self, resource: &Resource, namespace: Option<String>) -> Result<WatchOptions> {
        let initial = match self.get("sendInitialEvents") {
            "" => None,
            text => Some(text == "true"),
        };
        if initial.is_some() && self.get("resourceVersionMatch") != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            let cause = Cause::forbidden("resourceVersionMatch", why);
            return Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &[cause]));
        }
        Ok(WatchOptions {
            namespace,
            selector: self.selector(resource)?,
            version: self.get("resourceVersion").to_owned(),
            bookmarks: self.flag("allowWatchBookmarks"),
            initial,
            length: self.number("timeoutSeconds")?.map(Duration::from_secs),
        })
    }

    /// Options of a write.
    pub fn write(&self, headers: &HeaderMap) -> Result<WriteOptions> {
        let validation = match self.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["Ignore", "Strict", "Warn"].map(Value::from);
                let cause = Cause::unsupported("fieldValidation", &other.into(), &supported);
                return Err(Failure::invalid(
                    "meta.k8s.io",
                    "PatchOptions",
                    "",
                    &[cause],
                ));
            }
        };
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok());
        // Default field manager of a client: the name of its program.
        let agent = agent
            .and_then(|a| a.split('/').next())
            .filter(|a| !a.is_empty());
        let manager = match self.get("fieldManager") {
            "" => agent.unwrap_or("unknown"),
            manager => manager,
        };
        Ok(WriteOptions {
            manager: manager.to_owned(),
            validation,
            dry_run: self.dry_run()?,
            force: self.flag("force"),
        })
    }

    fn dry_run(&self) -> Result<bool> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let cause = Cause::unsupported("dryRun", &other.into(), &["All".into()]);
                Err(Failure::invalid(
                    "meta.k8s.io",
                    "PatchOptions",
                    "",
                    &[cause],
                ))
            }
        }
    }

    /// Options of a deletion, from the body or the query.
    pub fn delete(&self, body: &Value) -> Result<DeleteOptions> {
        let mut options: DeleteOptions = if body.is_object() {
            serde_json::from_value(body.clone())
                .map_err(|e| Failure::bad_request(format!("invalid DeleteOptions: {e}")))?
        } else {
            DeleteOptions {
                grace_period_seconds: self.number("gracePeriodSeconds")?,
                propagation_policy: Some(self.get("propagationPolicy").to_owned())
                    .filter(|p| !p.is_empty()),
                ..DeleteOptions::default()
            }
        };
        if self.dry_run()? {
            options.dry_run = vec!["All".to_owned()];
        }
        Ok(options)
    }
}

/// Reads a whole body.
pub async fn body(body: Body) -> Result<Vec<u8>> {
    to_bytes(body, BODY_LIMIT)
        .await
        .map(|bytes| bytes.to_vec())
        .map_err(|_| Failure::upstream(413, "Request entity too large: limit is 3145728"))
}

/// A body's media type, without parameters.
pub fn media_type(parts: &Parts) -> &str {
    let header = parts.headers.get(header::CONTENT_TYPE);
    let text = header.and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// An object in a body, JSON or YAML.
pub fn object(parts: &Parts, bytes: &[u8]) -> Result<Value> {
    match media_type(parts) {
        "" | "*/*" | "application/json" => serde_json::from_slice(bytes)
            .map_err(|e| Failure::bad_request(format!("invalid JSON: {e}"))),
        "application/yaml" | "application/apply-patch+yaml" => yaml(bytes),
        "application/vnd.kubernetes.protobuf" => Err(Failure::protobuf()),
        _ => Err(Failure::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ])),
    }
}

/// Nothing, or an object.
pub fn optional_object(parts: &Parts, bytes: &[u8]) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    object(parts, bytes)
}

/// YAML, of which JSON is a part: most clients send that, and it is read in a fraction of the time.
fn yaml(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes)
        .or_else(|_| serde_saphyr::from_slice(bytes))
        .map_err(|e| Failure::bad_request(format!("error decoding YAML: {e}")))
}

/// Parses a patch according to its media type.
pub fn patch(resource: &Resource, parts: &Parts, query: &Query, bytes: &[u8]) -> Result<Change> {
    let json = || -> Result<Value> {
        serde_json::from_slice(bytes)
            .map_err(|e| Failure::bad_request(format!("error decoding patch: {e}")))
    };
    match media_type(parts) {
        "application/merge-patch+json" => Ok(Change::Merge(json()?)),
        "application/strategic-merge-patch+json" if !resource.is(Trait::Custom) => {
            Ok(Change::Strategic(json()?))
        }
        "application/json-patch+json" => serde_json::from_slice(bytes)
            .map(Change::Json)
            .map_err(|e| Failure::bad_request(format!("error decoding patch: {e}"))),
        "application/apply-patch+yaml" => {
            if query.get("fieldManager").is_empty() {
                let cause = Cause::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid(
                    "meta.k8s.io",
                    "PatchOptions",
                    "",
                    &[cause],
                ));
            }
            yaml(bytes).map(Change::Apply)
        }
        _ if resource.is(Trait::Custom) => Err(Failure::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        _ => Err(Failure::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ])),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn protobuf_is_refused_with_the_command_that_works() {
        let (parts, ()) = Request::post("/api/v1/namespaces")
            .header(header::CONTENT_TYPE, "application/vnd.kubernetes.protobuf")
            .body(())
            .unwrap()
            .into_parts();
        let refused = object(&parts, b"k8s\0").unwrap_err();
        let message = refused.status()["message"].to_string();
        assert!(message.contains("--dry-run=client -o yaml"), "{message}");
    }
}
