//! Reads the [`Schema`] of a CustomResourceDefinition, or of the definitions of the built-in kinds, from OpenAPI JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::super::json::Json as _;
use super::rules::Rule;
use super::{Form, Limits, Merge, Schema};

/// Facts that are missing in the published definitions, by definition and field.
#[derive(Clone, Copy, Debug)]
pub struct Overlay {
    /// How a definition (empty field) or one of its fields merges.
    pub merge: fn(definition: &str, field: &str) -> Option<Merge>,
    /// Whether validation requires a field; decoders have their own rules.
    pub required: fn(definition: &str, field: &str) -> bool,
}

/// Named definitions that schemas refer to, each of which is read once.
#[derive(Debug)]
pub struct Definitions<'a> {
    source: &'a BTreeMap<String, Value>,
    overlay: Overlay,
    done: BTreeMap<String, Arc<Schema>>,
    /// Definitions being read: a reference to one of these is a cycle, and is not resolved.
    open: BTreeSet<String>,
}

impl<'a> Definitions<'a> {
    /// Definitions by name, as in `components.schemas`.
    pub fn new(source: &'a BTreeMap<String, Value>, overlay: Overlay) -> Self {
        Self {
            source,
            overlay,
            done: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// The schema of a definition.
    pub fn get(&mut self, name: &str) -> Arc<Schema> {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let Some(source) = self.source.get(name).filter(|_| !self.open.contains(name)) else {
            return Arc::new(anything());
        };
        self.open.insert(name.to_owned());
        let mut schema = read(source, &mut |child| self.child(child));
        schema.required = source
            .entries("/properties")
            .map(|(field, _)| field.clone())
            .filter(|field| (self.overlay.required)(name, field))
            .collect();
        // A type without fields has its own encoding.
        schema.preserve |= schema.properties.is_empty() && schema.additional.is_none();
        if let Some(merge) = (self.overlay.merge)(name, "") {
            schema.merge = merge;
        }
        for (field, child) in &mut schema.properties {
            if let Some(merge) = (self.overlay.merge)(name, field) {
                *child = Arc::new(Schema {
                    merge,
                    ..shallow(child)
                });
            }
        }
        self.open.remove(name);
        let schema = Arc::new(schema);
        self.done.insert(name.to_owned(), schema.clone());
        schema
    }

    fn child(&mut self, source: &Value) -> Arc<Schema> {
        let reference = source.text("/$ref");
        if let Some((_, name)) = reference.rsplit_once('/') {
            return self.get(name);
        }
        // A described reference is wrapped: `allOf: [{$ref}]`.
        if let [only] = source.items("/allOf") {
            return self.child(only);
        }
        Arc::new(read(source, &mut |child| self.child(child)))
    }
}

impl Schema {
    /// The `openAPIV3Schema` of a custom resource, with the common metadata.
    pub fn of_custom_resource(source: &Value, metadata: &Arc<Schema>) -> Self {
        let mut schema = inline(source);
        schema.form = Form::Object;
        for name in ["apiVersion", "kind"] {
            schema.properties.entry(name.to_owned()).or_default();
        }
        schema
            .properties
            .insert("metadata".to_owned(), metadata.clone());
        schema
    }
}

fn inline(source: &Value) -> Schema {
    read(source, &mut |child| Arc::new(inline(child)))
}

fn anything() -> Schema {
    Schema {
        preserve: true,
        ..Schema::default()
    }
}

/// The schema to which a field's merge rule is added: the definitions of built-in kinds have no other rules.
fn shallow(schema: &Schema) -> Schema {
    Schema {
        form: schema.form,
        properties: schema.properties.clone(),
        additional: schema.additional.clone(),
        items: schema.items.clone(),
        required: schema.required.clone(),
        preserve: schema.preserve,
        ..Schema::default()
    }
}

fn read(source: &Value, child: &mut dyn FnMut(&Value) -> Arc<Schema>) -> Schema {
    let items = source.get("items").map(&mut *child);
    Schema {
        form: form(source),
        properties: source
            .entries("/properties")
            .map(|(name, property)| (name.clone(), child(property)))
            .collect(),
        additional: match source.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Arc::new(anything())),
            Some(schema @ Value::Object(_)) => Some(child(schema)),
            _ => None,
        },
        merge: merge(source, items.as_deref()),
        items,
        required: strings(source.items("/required")),
        preserve: source.truth("/x-kubernetes-preserve-unknown-fields") || is_open(source),
        embedded: source.truth("/x-kubernetes-embedded-resource"),
        nullable: source.truth("/nullable"),
        default: source.get("default").cloned(),
        limits: limits(source),
        rules: Rule::read(source),
    }
}

fn form(source: &Value) -> Form {
    if source.truth("/x-kubernetes-int-or-string") || source.text("/format") == "int-or-string" {
        return Form::IntOrString;
    }
    match source.text("/type") {
        "object" => Form::Object,
        "array" => Form::Array,
        "string" => Form::String,
        "integer" => Form::Integer,
        "number" => Form::Number,
        "boolean" => Form::Boolean,
        _ => Form::Any,
    }
}

/// Whether a schema has no constraints on its content.
fn is_open(source: &Value) -> bool {
    ["type", "properties", "additionalProperties", "items"]
        .iter()
        .all(|key| source.get(key).is_none())
        && form(source) == Form::Any
}

fn merge(source: &Value, items: Option<&Schema>) -> Merge {
    let list = source.text("/x-kubernetes-list-type");
    match list {
        "atomic" => Merge::Atomic,
        "set" => Merge::Set,
        "map" => Merge::Keyed(
            strings(source.items("/x-kubernetes-list-map-keys"))
                .into_iter()
                .map(|key| {
                    let default = items
                        .and_then(|i| i.properties.get(&key))
                        .and_then(|s| s.default.clone());
                    (key, default)
                })
                .collect(),
        ),
        _ if source.text("/x-kubernetes-map-type") == "atomic" => Merge::Atomic,
        _ => Merge::ByType,
    }
}

fn limits(source: &Value) -> Limits {
    let number = |key: &str| source.get(key).and_then(Value::as_f64);
    let count = |key: &str| source.get(key).and_then(Value::as_u64);
    Limits {
        choices: source.items("/enum").to_vec(),
        minimum: number("minimum"),
        maximum: number("maximum"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        // Patterns are ECMA-262; a pattern that this engine cannot parse is not enforced.
        pattern: source
            .get("pattern")
            .and_then(Value::as_str)
            .and_then(|p| Regex::new(p).ok()),
    }
}

fn strings(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}
