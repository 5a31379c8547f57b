//! Validates a value against its schema, with the messages of upstream.
//!
//! Upstream: `kube-openapi/pkg/validation/validate`, `apiextensions-apiserver/pkg/apiserver/validation`.

use serde_json::Value;

use super::super::failure::Cause;
use super::prune::join;
use super::{Form, Limits, Merge, Schema};

impl Schema {
    /// Every error of a value; `old` is the previous value.
    pub fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.validate_at(value, "", &mut causes);
        if !causes.iter().any(Cause::blocks_rules) {
            self.check_rules_at(value, old, "", &mut causes);
        } else if self.has_rules() {
            causes.push(Cause::invalid(
                "<nil>",
                &Value::Null,
                "some validation rules were not checked because the object was invalid; \
                 correct the existing errors to complete validation",
            ));
        }
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
        for name in &self.required {
            if value.is_object() && value.get(name).is_none() {
                causes.push(Cause::required(join(path, name), ""));
            }
        }
        for child in self.children(value, None, path) {
            child.schema.validate_at(child.value, &child.path, causes);
        }
    }

    fn check_rules_at(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        causes: &mut Vec<Cause>,
    ) {
        for rule in self.rules.iter().filter(|r| !r.holds(value, old)) {
            causes.push(Cause::invalid(path, value, &rule.message));
        }
        for child in self.children(value, old, path) {
            child
                .schema
                .check_rules_at(child.value, child.old, &child.path, causes);
        }
    }

    fn has_rules(&self) -> bool {
        let below = self
            .properties
            .values()
            .chain(&self.additional)
            .chain(&self.items);
        !self.rules.is_empty() || below.into_iter().any(|s| s.has_rules())
    }

    /// The fields or items of a value with a schema.
    fn children<'v>(
        &'v self,
        value: &'v Value,
        old: Option<&'v Value>,
        path: &str,
    ) -> Vec<Child<'v>> {
        let field = |(name, value): (&'v String, &'v Value)| {
            Some(Child {
                schema: self.field(name).0?,
                value,
                old: old.and_then(|o| o.get(name)),
                path: join(path, name),
            })
        };
        let item = |(index, value): (usize, &'v Value)| {
            Some(Child {
                schema: self.items.as_deref()?,
                value,
                old: old.and_then(|o| self.counterpart(o, value)),
                path: format!("{path}[{index}]"),
            })
        };
        match value {
            Value::Object(map) => map.iter().filter_map(field).collect(),
            Value::Array(items) => items.iter().enumerate().filter_map(item).collect(),
            _ => Vec::new(),
        }
    }

    /// The corresponding item of the previous list, found by its keys.
    fn counterpart<'v>(&self, old: &'v Value, item: &Value) -> Option<&'v Value> {
        let Merge::Keyed(keys) = &self.merge else {
            return None;
        };
        let same = |o: &&Value| keys.iter().all(|(key, _)| o.get(key) == item.get(key));
        old.as_array()?.iter().find(same)
    }
}

/// A part of a value.
struct Child<'v> {
    schema: &'v Schema,
    value: &'v Value,
    /// The previous value.
    old: Option<&'v Value>,
    path: String,
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

/// Name of a JSON type in upstream's messages.
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
            if let Some(pattern) = self.pattern.as_ref().filter(|p| !p.is_match(text)) {
                wrong(format!("should match '{pattern}'"));
            }
            if let Some(most) = self.max_length.filter(|m| length > *m) {
                causes.push(Cause::too_long(path, most));
            }
        } else if let Some(items) = value.as_array() {
            let count = items.len() as u64;
            if let Some(least) = self.min_items.filter(|m| count < *m) {
                wrong(format!("should have at least {least} items"));
            }
            if let Some(most) = self.max_items.filter(|m| count > *m) {
                causes.push(Cause::too_many(path, count, most));
            }
        }
    }
}
