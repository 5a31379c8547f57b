//! Every write goes one way: decode → admit → own → prepare → validate → store.
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

/// Which object a request is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its namespace; empty for cluster-scoped resources.
    pub namespace: String,
    /// Its name; empty where the server or the body gives it.
    pub name: String,
    /// The part of it.
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

    /// It is not there.
    pub fn not_found(&self) -> Failure {
        Failure::not_found(&self.resource, &self.name)
    }
}

/// What to do about fields a schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the write.
    Strict,
}

/// How a write is to be done.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The field manager.
    pub manager: String,
    /// What to do about unknown fields.
    pub validation: FieldValidation,
    /// Do all but the storing.
    pub dry_run: bool,
    /// Take fields over from other appliers.
    pub force: bool,
}

/// What is to become of an object.
#[derive(Debug)]
pub enum Change {
    /// This.
    Replace(Value),
    /// The object with an RFC 7386 patch.
    Merge(Value),
    /// The object with an RFC 6902 patch.
    Json(json_patch::Patch),
    /// The object with a strategic merge patch.
    Strategic(Value),
    /// The object with a server-side applied configuration.
    Apply(Value),
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The object after it, as stored.
    pub object: Arc<Value>,
    /// It was not there before.
    pub created: bool,
    /// What a person should know about the request.
    pub warnings: Vec<String>,
}
