//! All writes: decode → admit → own → prepare → validate → store.
//!
//! Upstream: `apiserver/pkg/endpoints/handlers` and `apiserver/pkg/registry`.

mod admission;
mod create;
mod decode;
mod delete;
mod kinds;
mod metadata;
mod policy;
mod update;

use std::sync::Arc;

use serde_json::Value;

pub use delete::{DeleteOptions, FOREGROUND, ORPHAN};

use super::failure::Failure;
use super::json::Meta as _;
use super::resources::{Resource, Subresource};

/// The object of a request.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its namespace; empty for cluster-scoped resources.
    pub namespace: String,
    /// Its name; empty if the server or the body sets it.
    pub name: String,
    /// Its subresource.
    pub subresource: Option<Subresource>,
}

impl Target {
    /// The object itself.
    pub fn of(resource: &Arc<Resource>, object: &Value) -> Self {
        Self {
            resource: resource.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            subresource: None,
        }
    }

    /// The error that it does not exist.
    pub fn not_found(&self) -> Failure {
        Failure::not_found(&self.resource, &self.name)
    }
}

/// Handling of unknown fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Remove them.
    Ignore,
    /// Remove them, and return a warning.
    #[default]
    Warn,
    /// Refuse the write.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The field manager.
    pub manager: String,
    /// Handling of unknown fields.
    pub validation: FieldValidation,
    /// Do everything except storing.
    pub dry_run: bool,
    /// Take over fields from other appliers.
    pub force: bool,
}

/// Change of an object.
#[derive(Debug)]
pub enum Change {
    /// Replacement.
    Replace(Value),
    /// RFC 7386 merge patch.
    Merge(Value),
    /// RFC 6902 JSON patch.
    Json(json_patch::Patch),
    /// Strategic merge patch.
    Strategic(Value),
    /// Server-side applied configuration.
    Apply(Value),
}

/// Result of a write.
#[derive(Debug)]
pub struct Written {
    /// The stored object.
    pub object: Arc<Value>,
    /// Whether the object is new.
    pub created: bool,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}
