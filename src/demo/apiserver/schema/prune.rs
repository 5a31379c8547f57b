//! Removes unknown fields from an object, and returns their paths.

use serde_json::Value;

use super::{Form, Schema};

/// Fields of every embedded object, whatever its schema.
const EMBEDDED: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Removes unknown fields, and returns their paths in the object's order.
    pub fn prune(&self, value: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_at(value, "", &mut dropped);
        dropped
    }

    fn prune_at(&self, value: &mut Value, path: &str, dropped: &mut Vec<String>) {
        match value {
            Value::Object(map) if matches!(self.form, Form::Object | Form::Any) => {
                map.retain(|name, child| {
                    let path = join(path, name);
                    match self.field(name).0 {
                        Some(schema) => schema.prune_at(child, &path, dropped),
                        None if self.preserve => {}
                        None if self.embedded && EMBEDDED.contains(&name.as_str()) => {}
                        None => {
                            dropped.push(path);
                            return false;
                        }
                    }
                    true
                });
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter_mut().enumerate() {
                        schema.prune_at(item, &format!("{path}[{index}]"), dropped);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Path of a field below another.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Removes nulls, and empty lists and maps, as decoding into Go types with `omitempty` does. Empty structs remain:
/// `emptyDir: {}` has a meaning.
pub fn tidy(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|name, child| {
            let Some(schema) = schema.field(name).0 else {
                return !child.is_null();
            };
            tidy(schema, child);
            match child {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => !map.is_empty() || schema.additional.is_none(),
                _ => true,
            }
        }),
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for item in items {
                    tidy(schema, item);
                }
            }
        }
        _ => {}
    }
}
