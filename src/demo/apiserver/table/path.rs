//! The JSONPath subset of printer columns: fields, indices, `[*]` and `[?(@.field=="value")]`.
//!
//! Upstream: `client-go/util/jsonpath`; an unsupported path selects nothing.

use serde_json::Value;

/// A parsed path.
#[derive(Debug)]
pub struct JsonPath(Option<Vec<Step>>);

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Where(Vec<String>, Value),
}

impl JsonPath {
    /// Parses a path, with or without the leading `$` or `.`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}');
        Self(steps(text.strip_prefix('$').unwrap_or(text)))
    }

    /// All selected values, in order.
    pub fn select<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let Some(steps) = &self.0 else {
            return Vec::new();
        };
        steps.iter().fold(vec![root], |here, step| {
            here.into_iter().flat_map(|v| step.apply(v)).collect()
        })
    }
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = || value.as_array().map_or(&[][..], Vec::as_slice);
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let count = i64::try_from(items().len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { count + index } else { *index };
                usize::try_from(index)
                    .ok()
                    .and_then(|i| items().get(i))
                    .into_iter()
                    .collect()
            }
            Self::All => match value {
                Value::Object(map) => map.values().collect(),
                _ => items().iter().collect(),
            },
            Self::Where(path, wanted) => items()
                .iter()
                .filter(|item| {
                    path.iter()
                        .try_fold(*item, |v, name| v.get(name))
                        .is_some_and(|v| v == wanted)
                })
                .collect(),
        }
    }
}

fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = closing(inside)?;
            steps.push(bracket(&inside[..end])?);
            rest = &inside[end + 1..];
        } else {
            let (name, after) = field(rest.strip_prefix('.').unwrap_or(rest));
            if name == "*" {
                steps.push(Step::All);
            } else if !name.is_empty() {
                steps.push(Step::Field(name));
            } else if !after.is_empty() {
                // `..` is recursive descent, which is not supported.
                return None;
            }
            rest = after;
        }
    }
    Some(steps)
}

/// A name up to the next `.` or `[`; a backslash escapes the next character.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// The index of the closing `]` of a bracket, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices()
        .find(|(_, c)| {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(*c),
                (Some(q), c) if q == *c => quote = None,
                _ => {}
            }
            quote.is_none() && *c == ']'
        })
        .map(|(at, _)| at)
}

fn bracket(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (left, right) = condition.split_once("==")?;
        let path = left.trim().strip_prefix("@.")?;
        let names = steps(path)?
            .into_iter()
            .map(|s| match s {
                Step::Field(name) => Some(name),
                _ => None,
            })
            .collect::<Option<_>>()?;
        let right = right.trim();
        let wanted = match quoted(right) {
            Some(text) => text.into(),
            None => serde_json::from_str(right).ok()?,
        };
        return Some(Step::Where(names, wanted));
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(".spec.a", json!([1]))]
    #[case(".metadata.annotations.a\\.b/c", json!(["x"]))]
    #[case(".metadata.annotations['a.b/c']", json!(["x"]))]
    #[case(".status.conditions[?(@.type==\"Ready\")].status", json!(["True"]))]
    #[case(".status.conditions[*].type", json!(["Other", "Ready"]))]
    #[case(".status.conditions[-1].type", json!(["Ready"]))]
    #[case(".absent.field", json!([]))]
    #[case("..spec", json!([]))]
    fn jsonpath_selects_values(#[case] path: &str, #[case] expected: Value) {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"a": 1},
            "status": {"conditions": [
                {"type": "Other", "status": "False"},
                {"type": "Ready", "status": "True"},
            ]},
        });
        assert_eq!(json!(JsonPath::parse(path).select(&object)), expected);
    }
}
