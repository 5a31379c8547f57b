//! One schema language for built-in kinds and custom resources: an OpenAPI v3 structural schema with the
//! `x-kubernetes-*` extensions, read once, then used to prune, default, validate and to merge by.
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

/// A schema and, through its children, a whole document's.
#[derive(Debug, Default)]
pub struct Schema {
    /// The JSON type.
    pub form: Form,
    /// An object's named fields.
    pub properties: BTreeMap<String, Arc<Schema>>,
    /// An object's other fields: a map's values.
    pub additional: Option<Arc<Schema>>,
    /// An array's items.
    pub items: Option<Arc<Schema>>,
    /// How writes by several managers come together here.
    pub merge: Merge,
    /// Named fields that have to be there.
    pub required: Vec<String>,
    /// Unnamed fields are kept.
    pub preserve: bool,
    /// A whole object with its own `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// `null` is a value.
    pub nullable: bool,
    /// What absence means.
    pub default: Option<Value>,
    /// Bounds of the value.
    pub limits: Limits,
    /// Rules on the value and on how it changes.
    pub rules: Vec<Rule>,
}

/// What JSON type a schema is of.
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
    /// By the type: objects field by field, arrays as one.
    #[default]
    ByType,
    /// As one value.
    Atomic,
    /// A list of distinct scalars.
    Set,
    /// A list of objects told apart by these fields, with the default of a field left out.
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
    /// A field's schema and whether the schema names the field; `None` is "anything goes".
    pub fn field(&self, name: &str) -> (Option<&Arc<Schema>>, bool) {
        match self.properties.get(name) {
            Some(schema) => (Some(schema), true),
            None => (self.additional.as_ref(), false),
        }
    }
}
