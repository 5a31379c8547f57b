//! Applies the `default`s of a schema to absent fields.

use serde_json::Value;

use super::{Form, Schema};

impl Schema {
    /// Applies defaults. A null that is not nullable is removed first.
    pub fn default_into(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, child| {
                    let schema = self.properties.get(name);
                    !child.is_null() || schema.is_none_or(|s| s.nullable || s.form == Form::Any)
                });
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else {
                        continue;
                    };
                    if !map.contains_key(name) {
                        map.insert(name.clone(), default.clone());
                    }
                }
                for (name, child) in map {
                    if let Some(schema) = self.field(name).0 {
                        schema.default_into(child);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for item in items {
                        schema.default_into(item);
                    }
                }
            }
            _ => {}
        }
    }
}
