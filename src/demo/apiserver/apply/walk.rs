//! Operations on typed values: collect paths, compare, merge, remove paths.
//!
//! Upstream: `structured-merge-diff/typed`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::schema::Schema;
use super::fields::FieldSet;
use super::shape::{Items, Shape, is_hollow, zip};

type Path = Vec<String>;

/// Every leaf and list item of a value.
pub fn collect(schema: Option<&Schema>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect_at(schema, value, &mut Path::new(), &mut set);
    set
}

fn collect_at(schema: Option<&Schema>, value: &Value, path: &mut Path, set: &mut FieldSet) {
    match Shape::of(schema, value) {
        Shape::Leaf => set.insert(path),
        Shape::Map(schema) => {
            for pair in zip(schema, Some(value), None) {
                let child = pair.left.unwrap_or(&Value::Null);
                path.push(pair.element);
                collect_at(pair.schema, child, path, set);
                // A map's key is an item itself; a field of a struct exists only with its content.
                if !pair.named || child.is_object() && is_hollow(Some(child)) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::List(items) => {
            for (element, item) in items.index(Some(value)) {
                path.push(element);
                collect_at(items.schema, item, path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// Changes of a write.
#[derive(Debug, Default)]
pub struct Comparison {
    /// New paths.
    pub added: FieldSet,
    /// Paths with a changed value.
    pub modified: FieldSet,
    /// Removed paths.
    pub removed: FieldSet,
}

impl Comparison {
    /// Paths whose value the write sets.
    pub fn written(&self) -> FieldSet {
        self.added.union(&self.modified)
    }
}

/// Difference of two values.
pub fn compare(schema: Option<&Schema>, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    compare_at(
        schema,
        Some(old),
        Some(new),
        &mut Path::new(),
        &mut comparison,
    );
    comparison
}

fn compare_at(
    schema: Option<&Schema>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Path,
    out: &mut Comparison,
) {
    let shape = new.or(old).map_or(Shape::Leaf, |v| Shape::of(schema, v));
    let shape = if is_hollow(old) && is_hollow(new) {
        Shape::Leaf
    } else {
        shape
    };
    match shape {
        Shape::Leaf => {}
        Shape::Map(schema) => {
            for pair in zip(schema, old, new) {
                path.push(pair.element);
                compare_at(pair.schema, pair.left, pair.right, path, out);
                path.pop();
            }
        }
        Shape::List(items) => {
            let (old, new) = (items.index(old), items.index(new));
            let before: BTreeMap<_, _> = old.iter().map(|(e, v)| (e, *v)).collect();
            let after: BTreeMap<_, _> = new.iter().map(|(e, v)| (e, *v)).collect();
            let elements: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for element in elements {
                path.push((*element).clone());
                let (old, new) = (before.get(*element), after.get(*element));
                compare_at(items.schema, old.copied(), new.copied(), path, out);
                path.pop();
            }
        }
    }
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        (Some(old), Some(new)) => {
            if matches!(shape, Shape::Leaf) && old != new {
                out.modified.insert(path);
            }
        }
    }
}

/// `live` with all values of `config`; nothing is removed.
pub fn merge(schema: Option<&Schema>, live: Option<&Value>, config: Option<&Value>) -> Value {
    let (Some(old), Some(new)) = (live, config) else {
        return config.or(live).cloned().unwrap_or_default();
    };
    match Shape::of(schema, new) {
        Shape::Map(schema) if !is_hollow(config) || !is_hollow(live) => {
            let merged: Map<_, _> = zip(schema, Some(old), Some(new))
                .into_iter()
                .map(|p| (p.name.to_owned(), merge(p.schema, p.left, p.right)))
                .collect();
            Value::Object(merged)
        }
        Shape::List(items) if old.is_array() && !is_hollow(live) => {
            Value::Array(merge_items(items, old, new))
        }
        _ => new.clone(),
    }
}

/// Items in the order of `config`, with the remaining ones at their previous positions in between.
fn merge_items(items: Items<'_>, live: &Value, config: &Value) -> Vec<Value> {
    let live = items.index(Some(live));
    let before: BTreeMap<_, _> = live.iter().map(|(e, v)| (e.clone(), *v)).collect();
    let config = items.index(Some(config));
    let said: BTreeSet<_> = config.iter().map(|(e, _)| e.clone()).collect();
    let mut config = config.into_iter();
    let take = |(element, item): (String, &Value)| {
        let known = before.get(&element).copied();
        (known.is_some(), merge(items.schema, known, Some(item)))
    };
    let mut merged = Vec::new();
    for (element, item) in &live {
        if !said.contains(element) {
            merged.push((*item).clone());
            continue;
        }
        // Up to the next common item.
        for (known, item) in config.by_ref().map(take) {
            merged.push(item);
            if known {
                break;
            }
        }
    }
    merged.extend(config.map(|c| take(c).1));
    merged
}

/// `value` without the paths in `gone`, and without objects and lists that become empty.
pub fn remove(schema: Option<&Schema>, value: &Value, gone: &FieldSet) -> Option<Value> {
    if gone.is_empty() {
        return Some(value.clone());
    }
    match Shape::of(schema, value) {
        Shape::Leaf => Some(value.clone()),
        Shape::Map(schema) => {
            let kept: Map<_, _> = zip(schema, Some(value), None)
                .into_iter()
                .filter(|p| !gone.has(&p.element))
                .filter_map(|p| {
                    let child = remove(p.schema, p.left?, gone.below(&p.element))?;
                    Some((p.name.to_owned(), child))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Shape::List(items) => {
            let kept: Vec<_> = items
                .index(Some(value))
                .into_iter()
                .filter(|(element, _)| !gone.has(element))
                .filter_map(|(element, item)| remove(items.schema, item, gone.below(&element)))
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}
