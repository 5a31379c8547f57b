//! Parses label and field selectors, and evaluates them on objects.
//!
//! Upstream: `apimachinery/pkg/labels/selector.go` and `apimachinery/pkg/fields/selector.go`.

use serde_json::Value;

use super::failure::{Failure, Result};
use super::json::Json as _;
use super::resources::Resource;

/// Selects the objects of a list, a watch or a deletion.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Also matches if the label is absent.
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    pointer: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses both selectors of a query.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(resource, fields)?,
        })
    }

    /// Parses a label selector.
    pub fn of_labels(labels: &str) -> Result<Self> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: Vec::new(),
        })
    }

    /// Adds the condition `metadata.name=name`.
    pub fn named(mut self, name: &str) -> Self {
        self.fields.push(Term {
            pointer: "/metadata/name".to_owned(),
            value: name.to_owned(),
            equal: true,
        });
        self
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether it selects this object (in its stored form).
    pub fn matches(&self, object: &Value) -> bool {
        self.fields
            .iter()
            .all(|t| (field(object, &t.pointer) == t.value) == t.equal)
            && self.labels.iter().all(|r| r.holds(object))
    }
}

/// A field's value as text, as selectors compare it.
fn field(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

impl Requirement {
    fn holds(&self, object: &Value) -> bool {
        let get = |key: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
        };
        let number = |key: &str| get(key).and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::Exists(key) => get(key).is_some(),
            Self::Absent(key) => get(key).is_none(),
            Self::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(key, values) => !get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::Greater(key, bound) => number(key).is_some_and(|n| n > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|n| n < *bound),
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    split_outside_parentheses(text)
        .into_iter()
        .map(|part| {
            requirement(part.trim()).ok_or_else(|| {
                Failure::bad_request(format!("unable to parse requirement: {part:?}"))
            })
        })
        .collect()
}

/// Splits a selector at its commas, except for those inside `in (a,b)`.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut depth = 0_u32;
    text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let one = |key: &str, value: &str| Some((label(key)?, vec![value.trim().to_owned()]));
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Absent(label(key)?));
    }
    if let Some((left, values)) = part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let (key, operator) = left.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(Requirement::In(label(key)?, values)),
            "notin" => Some(Requirement::NotIn(label(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return one(key, value).map(|(k, v)| Requirement::NotIn(k, v));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return one(key, value).map(|(k, v)| Requirement::In(k, v));
    }
    if let Some((key, bound)) = part.split_once('>') {
        return Some(Requirement::Greater(
            label(key)?,
            bound.trim().parse().ok()?,
        ));
    }
    if let Some((key, bound)) = part.split_once('<') {
        return Some(Requirement::Less(label(key)?, bound.trim().parse().ok()?));
    }
    Some(Requirement::Exists(label(part)?))
}

fn label(key: &str) -> Option<String> {
    let key = key.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(valid)).then(|| key.to_owned())
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<Term>> {
    let term = |part: &str| {
        let (label, value, equal) = part
            .split_once("!=")
            .map(|(l, v)| (l, v, false))
            .or_else(|| part.split_once("==").map(|(l, v)| (l, v, true)))
            .or_else(|| part.split_once('=').map(|(l, v)| (l, v, true)))
            .ok_or_else(|| {
                Failure::bad_request(format!(
                    "invalid field selector {part:?}; can't understand {part:?}"
                ))
            })?;
        let pointer = resource
            .selectable(label)
            .ok_or_else(|| Failure::bad_request(format!("field label not supported: {label}")))?;
        Ok(Term {
            pointer,
            value: value.to_owned(),
            equal,
        })
    };
    text.split(',')
        .filter(|p| !p.is_empty())
        .map(term)
        .collect()
}

/// Formats a `metav1.LabelSelector` as text, for the status of a scale.
pub fn printed(selector: &Value) -> String {
    let mut parts: Vec<_> = selector
        .entries("/matchLabels")
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for expression in selector.items("/matchExpressions") {
        let key = expression.text("/key");
        let values: Vec<_> = expression
            .items("/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        parts.push(match expression.text("/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("app=a", true)]
    #[case("app==a,tier", true)]
    #[case("app!=a", false)]
    #[case("absent!=a", true)]
    #[case("app in (b, a),!absent", true)]
    #[case("app notin (a,b)", false)]
    #[case("absent notin (a)", true)]
    #[case("size>2", true)]
    #[case("size<3", false)]
    #[case("", true)]
    fn label_selectors_match(#[case] text: &str, #[case] expected: bool) {
        let object = json!({"metadata": {"labels": {"app": "a", "tier": "x", "size": "3"}}});
        let selector = Selector {
            labels: parse_labels(text).expect("a valid selector"),
            fields: Vec::new(),
        };
        assert_eq!(selector.matches(&object), expected, "{text}");
    }

    #[rstest]
    #[case("app in a")]
    #[case("=a")]
    #[case("a b")]
    fn malformed_selector_is_refused(#[case] text: &str) {
        assert_eq!(parse_labels(text).expect_err("refused").code, 400);
    }
}
