//! Sets of field paths, as in `metadata.managedFields`: a tree of path elements, some of which are members.
//!
//! Upstream: `structured-merge-diff/fieldpath`. An element is stored in its serialised form: `f:name` for a field, `k:{…}`
//! for a list item by its keys, `v:…` for the value of a set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::super::schema::Schema;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Whether the path to this node is in the set.
    member: bool,
    /// Longer paths.
    below: FieldSet,
}

static EMPTY: FieldSet = FieldSet(BTreeMap::new());

/// The element of a field.
pub fn field(name: &str) -> String {
    format!("f:{name}")
}

impl FieldSet {
    /// Parses a set in the form of `fieldsV1`.
    pub fn from_json(json: &Value) -> Self {
        let nodes = json.as_object().into_iter().flatten();
        Self(
            nodes
                .filter(|(element, _)| *element != ".")
                .map(|(element, child)| {
                    let below = Self::from_json(child);
                    let member = below.is_empty() || child.get(".").is_some();
                    (element.clone(), Node { member, below })
                })
                .collect(),
        )
    }

    /// The set in the form of `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let nodes = self.0.iter().map(|(element, node)| {
            let mut json = node.below.to_json();
            if let (true, false, Value::Object(map)) =
                (node.member, node.below.is_empty(), &mut json)
            {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (element.clone(), json)
        });
        Value::Object(nodes.collect())
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a path.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        if let [first, rest @ ..] = path {
            let node = self.0.entry(first.as_ref().to_owned()).or_default();
            if rest.is_empty() {
                node.member = true;
            } else {
                node.below.insert(rest);
            }
        }
    }

    /// Whether the path of this single element is in the set.
    pub fn has(&self, element: &str) -> bool {
        self.0.get(element).is_some_and(|n| n.member)
    }

    /// The paths below an element.
    pub fn below(&self, element: &str) -> &Self {
        self.0.get(element).map_or(&EMPTY, |n| &n.below)
    }

    /// Union.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, node) in &other.0 {
            let mine = all.0.entry(element.clone()).or_default();
            mine.member |= node.member;
            mine.below = mine.below.union(&node.below);
        }
        all
    }

    /// Intersection.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs, Self::intersection)
    }

    /// Difference.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs, Self::difference)
    }

    fn combine(
        &self,
        other: &Self,
        member: fn(bool, bool) -> bool,
        below: fn(&Self, &Self) -> Self,
    ) -> Self {
        let nodes = self.0.iter().filter_map(|(element, node)| {
            let node = Node {
                member: member(node.member, other.has(element)),
                below: below(&node.below, other.below(element)),
            };
            (node.member || !node.below.is_empty()).then(|| (element.clone(), node))
        });
        Self(nodes.collect())
    }

    /// Adds every struct field on the way to a member: a struct is removed with its last field.
    #[must_use]
    pub fn with_structs(&self, schema: Option<&Schema>) -> Self {
        let nodes = self.0.iter().map(|(element, node)| {
            let (child, named) = match element.strip_prefix("f:") {
                Some(name) => schema.map_or((None, false), |s| s.field(name)),
                None => (schema.and_then(|s| s.items.as_ref()), false),
            };
            let node = Node {
                member: node.member || named,
                below: node.below.with_structs(child.map(AsRef::as_ref)),
            };
            (element.clone(), node)
        });
        Self(nodes.collect())
    }

    /// Every path in the form of messages: `.spec.containers[name="app"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.paths_below("", &mut paths);
        paths
    }

    fn paths_below(&self, prefix: &str, paths: &mut Vec<String>) {
        for (element, node) in &self.0 {
            let path = format!("{prefix}{}", printed(element));
            if node.member {
                paths.push(path.clone());
            }
            node.below.paths_below(&path, paths);
        }
    }
}

fn printed(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let mut text = String::new();
            for (name, value) in keys {
                let comma = if text.is_empty() { "" } else { "," };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}{name}={value}");
            }
            format!("[{text}]")
        }
        _ => format!("[{element}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(path);
        }
        set
    }

    #[test]
    fn json_preserves_members_at_inner_nodes() {
        let json =
            json!({"f:labels": {".": {}, "f:app": {}}, "f:spec": {"k:{\"name\":\"a\"}": {}}});
        let fields = FieldSet::from_json(&json);
        assert!(fields.has("f:labels"));
        assert!(!fields.has("f:spec"));
        assert_eq!(fields.to_json(), json);
    }

    #[test]
    fn difference_and_intersection_work_by_element() {
        let a = set(&[&["f:a"], &["f:b", "f:c"], &["f:b"]]);
        let b = set(&[&["f:b"]]);
        assert_eq!(a.difference(&b), set(&[&["f:a"], &["f:b", "f:c"]]));
        assert_eq!(a.intersection(&b), b);
        assert_eq!(b.union(&a), a);
        assert!(b.difference(&a).is_empty());
    }

    #[test]
    fn paths_are_printed_as_upstream() {
        let fields = set(&[&["f:spec", "k:{\"name\":\"app\"}", "f:image"], &["v:\"x\""]]);
        assert_eq!(fields.paths(), [".spec[name=\"app\"].image", "[=\"x\"]"]);
    }
}
