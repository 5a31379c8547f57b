//! Absent fields in: a schema's `default`s.

use serde_json::Value;

use super::Schema;

impl Schema {
    /// Fills in defaults. A null where null is no value reads as absent.
    pub fn default_into(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else {
                        continue;
                    };
                    let absent = match map.get(name) {
                        None => true,
                        Some(value) => value.is_null() && !schema.nullable,
                    };
                    if absent {
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
