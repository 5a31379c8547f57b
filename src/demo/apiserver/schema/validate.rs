//! A value against its schema: causes out, worded as upstream words them.
//!
//! Upstream: `kube-openapi/pkg/validation/validate`, `apiextensions-apiserver/pkg/apiserver/validation`.

use serde_json::Value;

use super::super::failure::Cause;
use super::prune::join;
use super::{Form, Limits, Schema};

impl Schema {
    /// Everything that is wrong with a value.
    pub fn validate(&self, value: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.validate_at(value, "", &mut causes);
        causes
    }

    fn validate_at(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if value.is_null() && self.nullable {
            return;
        }
        if !self.form.admits(value) {
            let (wanted, is) = (self.form.name(), type_name(value));
            let detail = format!("{path} in body must be of type {wanted}: {is:?}");
            causes.push(Cause::mistyped(path, &is.into(), &detail));
            return;
        }
        self.limits.check(value, path, causes);
        match value {
            Value::Object(map) => {
                for name in &self.required {
                    if !map.contains_key(name) {
                        causes.push(Cause::required(join(path, name), ""));
                    }
                }
                for (name, child) in map {
                    if let Some(schema) = self.field(name).0 {
                        schema.validate_at(child, &join(path, name), causes);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        schema.validate_at(item, &format!("{path}[{index}]"), causes);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Form {
    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64() || is_whole(value),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntOrString => value.is_i64() || value.is_u64() || value.is_string(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// A JSON type as upstream's validator calls it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Limits {
    fn check(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if !self.choices.is_empty() && !self.choices.contains(value) {
            causes.push(Cause::unsupported(path, value, &self.choices));
        }
        let mut wrong = |rule: String| {
            causes.push(Cause::invalid(
                path,
                value,
                &format!("{path} in body {rule}"),
            ));
        };
        if let Some(number) = value.as_f64() {
            if let Some(least) = self.minimum.filter(|m| number < *m) {
                wrong(format!("should be greater than or equal to {least}"));
            }
            if let Some(most) = self.maximum.filter(|m| number > *m) {
                wrong(format!("should be less than or equal to {most}"));
            }
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            if let Some(least) = self.min_length.filter(|m| length < *m) {
                wrong(format!("should be at least {least} chars long"));
            }
            if let Some(most) = self.max_length.filter(|m| length > *m) {
                wrong(format!("should be at most {most} chars long"));
            }
            if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(text)) {
                wrong(format!("should match '{pattern}'"));
            }
        }
        if let Some(items) = value.as_array() {
            let count = items.len() as u64;
            if let Some(least) = self.min_items.filter(|m| count < *m) {
                wrong(format!("should have at least {least} items"));
            }
            if let Some(most) = self.max_items.filter(|m| count > *m) {
                wrong(format!("should have at most {most} items"));
            }
        }
    }
}
