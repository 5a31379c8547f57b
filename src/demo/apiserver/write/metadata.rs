//! Rules for the metadata of every object.
//!
//! Upstream: `apimachinery/pkg/api/validation/objectmeta.go`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::failure::Cause;
use crate::json::{Json as _, Meta as _};
use crate::resources::Resource;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

static SUBDOMAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$").ok()
});
static LABEL_VALUE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$").ok());

fn matches(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_none_or(|p| p.is_match(text))
}

/// Errors in the metadata of a written object.
pub fn validate(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object.name();
    // RBAC names are path segments: `system:node` is one.
    let segment = resource.group == "rbac.authorization.k8s.io";
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if !segment && (name.len() > MAX_NAME || !matches(&SUBDOMAIN, name)) {
        causes.push(Cause::invalid(
            "metadata.name",
            &name.into(),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
    for (_, value) in object.entries("/metadata/labels") {
        let text = value.as_str().unwrap_or_default();
        if text.len() > MAX_LABEL || !matches(&LABEL_VALUE, text) {
            causes.push(Cause::invalid(
                "metadata.labels",
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character",
            ));
        }
    }
    let size: usize = object
        .entries("/metadata/annotations")
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::invalid(
            "metadata.annotations",
            &size.into(),
            "Too long: may not be more than 262144 bytes",
        ));
    }
    for finalizer in object.finalizers() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            causes.push(Cause::invalid(
                "metadata.finalizers[0]",
                &finalizer.into(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    causes.extend(controllers(object));
    causes
}

/// Finalizers without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

fn controllers(object: &Value) -> Option<Cause> {
    let owners = object.items("/metadata/ownerReferences");
    let controllers = owners.iter().filter(|o| o.truth("/controller")).count();
    (controllers > 1).then(|| {
        Cause::invalid(
            "metadata.ownerReferences",
            &owners.into(),
            "Only one reference can have Controller set to true",
        )
    })
}

/// Errors in an update of metadata.
pub fn validate_update(old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        let pointer = format!("/metadata/{field}");
        if old.text(&pointer) != new.text(&pointer) {
            causes.push(Cause::invalid(
                format!("metadata.{field}"),
                &new.text(&pointer).into(),
                "field is immutable",
            ));
        }
    }
    if old.deleting() {
        let had: Vec<_> = old.finalizers().collect();
        let fresh: Vec<_> = new.finalizers().filter(|f| !had.contains(f)).collect();
        if !fresh.is_empty() {
            causes.push(Cause::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    fresh.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    causes
}
