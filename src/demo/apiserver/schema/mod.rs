//! The schema of built-in kinds and custom resources: an OpenAPI v3 structural schema with the `x-kubernetes-*` extensions,
//! used to prune, default, validate and merge.
//!
//! Upstream: `apiextensions-apiserver/pkg/apiserver/schema`.

mod default;
mod prune;
mod read;
mod rules;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

pub use prune::tidy;
pub use read::{Definitions, Overlay};
use rules::Rule;

/// A schema with its child schemas.
#[derive(Debug, Default)]
pub struct Schema {
    /// JSON type.
    pub form: Form,
    /// Named fields of an object.
    pub properties: BTreeMap<String, Arc<Schema>>,
    /// Other fields of an object: the values of a map.
    pub additional: Option<Arc<Schema>>,
    /// Items of an array.
    pub items: Option<Arc<Schema>>,
    /// How writes by several managers merge.
    pub merge: Merge,
    /// Required fields.
    pub required: Vec<String>,
    /// Whether unknown fields are kept.
    pub preserve: bool,
    /// Whether it is a whole object with its own `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// Whether `null` is valid.
    pub nullable: bool,
    /// Default value.
    pub default: Option<Value>,
    /// Bounds of the value.
    pub limits: Limits,
    /// Rules about the value and its changes.
    pub rules: Vec<Rule>,
}

/// The JSON type of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Form {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    #[default]
    Any,
}

/// `x-kubernetes-list-type` and `x-kubernetes-map-type`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Merge {
    /// By type: objects by field, arrays as one value.
    #[default]
    ByType,
    /// As one value.
    Atomic,
    /// A list of distinct scalars.
    Set,
    /// A list of objects with these key fields; a field may have a default.
    Keyed(Vec<(String, Option<Value>)>),
}

/// Bounds of a value. Lengths in characters, sizes in items.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Limits {
    pub choices: Vec<Value>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub pattern: Option<Regex>,
}

impl Schema {
    /// Schema of a field, and whether the schema names the field; `None` means any value.
    pub fn field(&self, name: &str) -> (Option<&Arc<Schema>>, bool) {
        match self.properties.get(name) {
            Some(schema) => (Some(schema), true),
            None => (self.additional.as_ref(), false),
        }
    }
}
