//! The response to a refused request: a `metav1.Status` with the code, reason and causes that clients evaluate.
//!
//! Upstream: `apimachinery/pkg/api/errors/errors.go`.

use serde_json::{Value, json};

use super::resources::Resource;

/// A refusal; each constructor corresponds to one of upstream's `New…` functions.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// HTTP status code.
    pub code: u16,
    /// `metav1.StatusReason`; empty means unknown.
    pub reason: &'static str,
    /// Message for people.
    pub message: String,
    /// `metav1.StatusDetails`, or null.
    pub details: Value,
}

/// The result of a request that may be refused.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// One invalid field, formatted as `field.Error`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Cause {
    /// A required field is missing.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = match detail {
            "" => "Required value".to_owned(),
            detail => format!("Required value: {detail}"),
        };
        Self::new("FieldValueRequired", field, message)
    }

    /// A value violates a rule.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }

    /// A value has the wrong JSON type.
    pub fn mistyped(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueTypeInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }

    /// A text exceeds its limit.
    pub fn too_long(field: impl Into<String>, most: u64) -> Self {
        let message = format!("Too long: may not be more than {most} bytes");
        Self::new("FieldValueTooLong", field, message)
    }

    /// A list exceeds its limit.
    pub fn too_many(field: impl Into<String>, count: u64, most: u64) -> Self {
        let message = format!("Too many: {count}: must have at most {most} items");
        Self::new("FieldValueTooMany", field, message)
    }

    /// This request may not set the value.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// A value is not in the enumeration.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[Value]) -> Self {
        let supported: Vec<_> = supported.iter().map(Value::to_string).collect();
        Self::new(
            "FieldValueNotSupported",
            field,
            format!(
                "Unsupported value: {value}: supported values: {}",
                supported.join(", ")
            ),
        )
    }

    fn new(reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Self {
            reason,
            message,
            field: field.into(),
        }
    }

    /// Whether rules about the value must not be evaluated because of this error.
    pub fn blocks_rules(&self) -> bool {
        self.reason != "FieldValueInvalid" && self.reason != "FieldValueForbidden"
    }

    /// Whether the JSON type is wrong.
    pub fn is_mistyped(&self) -> bool {
        self.reason == "FieldValueTypeInvalid"
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str, causes: &[Value]) -> Self {
        let mut details = serde_json::Map::new();
        for (key, value) in [("group", group), ("kind", kind), ("name", name)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        }
        if !causes.is_empty() {
            details.insert("causes".to_owned(), causes.into());
        }
        self.details = Value::Object(details);
        self
    }

    /// The object does not exist.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).about(&resource.group, &resource.plural, name, &[])
    }

    /// The resource or path does not exist; clients expect this text for a missing API.
    pub fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message).about("", "", "", &[])
    }

    /// An object with this name exists.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(&resource.group, &resource.plural, name, &[])
    }

    /// A precondition is not met.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).about(&resource.group, &resource.plural, name, &[])
    }

    /// The object was changed since it was read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Other managers own the fields; `causes` holds manager and path.
    pub fn apply_conflict(message: String, causes: &[(String, String)]) -> Self {
        let causes: Vec<_> = causes
            .iter()
            .map(|(manager, path)| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {manager}"),
                    "field": path,
                })
            })
            .collect();
        Self::new(409, "Conflict", message).about("", "", "", &causes)
    }

    /// The object violates its schema or a rule.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let mut lines: Vec<_> = causes.iter().map(ToString::to_string).collect();
        lines.dedup();
        let lines = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let causes: Vec<_> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let message = format!("{qualified} {name:?} is invalid: {lines}");
        Self::new(422, "Invalid", message).about(group, kind, name, &causes)
    }

    /// The patch cannot be applied to this object.
    pub fn unprocessable(why: impl std::fmt::Display) -> Self {
        let message =
            format!("the server rejected our request due to an error in our request: {why}");
        Self::new(422, "Invalid", message)
    }

    /// The request is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The request is understood, but forbidden.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(&resource.group, &resource.plural, name, &[])
    }

    /// The namespace is being deleted.
    pub fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        Self::forbidden(resource, name, &why).about(
            &resource.group,
            &resource.plural,
            name,
            &[cause],
        )
    }

    /// The resourceVersion or continue token is no longer available.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The resourceVersion is in the future.
    pub fn version_too_large(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut failure = Self::new(504, "Timeout", message);
        failure.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        failure
    }

    /// The verb is not supported here.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about("", "", "", &[])
    }

    /// None of the accepted media types is supported.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(406, "NotAcceptable", message)
    }

    /// The media type of the body is not supported.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// `kubectl create deployment` and its siblings send protobuf, which only this server does not read.
    pub fn protobuf() -> Self {
        let message = "the demo's API server reads JSON and YAML, not protobuf; \
            add `--dry-run=client -o yaml` to this command and pipe it into `kubectl apply -f -`";
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// An internal error.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        let mut failure = Self::new(500, "InternalError", message);
        failure.details = json!({"causes": [{"message": why.to_string()}]});
        failure
    }

    /// A 500 without a reason, as upstream returns for unclassified errors.
    pub fn unclassified(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The server is shutting down.
    pub fn stopping() -> Self {
        Self::new(503, "ServiceUnavailable", "the server is stopping")
    }

    /// The error response of another server.
    pub fn upstream(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            404 => "NotFound",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        Self::new(code, reason, message)
    }

    /// Body of the response.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
