//! Strategic merge patch: a merge patch with rules for merging lists by item, and with directives.
//!
//! Upstream: `apimachinery/pkg/util/strategicpatch`. Merge keys are those of server-side apply; of several keys the first,
//! which is upstream's `patchMergeKey`.

use serde_json::{Map, Value};

use super::super::json::{Json as _, object};
use super::super::schema::{Merge, Schema};

const DIRECTIVE: &str = "$patch";
const DELETE_SCALARS: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";

/// Applies a strategic merge patch.
pub fn apply(schema: Option<&Schema>, target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *target = plain(patch);
            return;
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return;
        }
        _ => {}
    }
    let target = object(target);
    if let Some(Value::Array(keep)) = patch.get(RETAIN) {
        target.retain(|name, _| keep.iter().any(|k| k == name));
    }
    for (name, value) in patch {
        let child = |name: &str| schema.and_then(|s| s.field(name).0.map(AsRef::as_ref));
        if let Some(list) = name.strip_prefix(DELETE_SCALARS) {
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|i| !value.as_array().is_some_and(|gone| gone.contains(i)));
            }
        } else if let Some(list) = name.strip_prefix(ORDER) {
            // If the patch has content, its order applies, below.
            if let (Some(Value::Array(items)), false) =
                (target.get_mut(list), patch.contains_key(list))
            {
                let before = items.clone();
                sort(Key::of(child(list)), items, &before, value.items(""));
            }
        } else if !name.starts_with('$') {
            let order = patch.get(&format!("{ORDER}{name}"));
            field(child(name), target, name, value, order);
        }
    }
}

/// The key of the items of a list.
#[derive(Clone, Copy)]
struct Key<'s>(Option<&'s str>);

impl<'s> Key<'s> {
    fn of(list: Option<&'s Schema>) -> Self {
        Self(match list.map(|s| &s.merge) {
            Some(Merge::Keyed(keys)) => keys.first().map(|(key, _)| key.as_str()),
            _ => None,
        })
    }

    fn place(self, items: &[Value], wanted: &Value) -> Option<usize> {
        items.iter().position(|item| match self.0 {
            Some(key) => item.get(key) == wanted.get(key),
            None => item == wanted,
        })
    }
}

fn field(
    schema: Option<&Schema>,
    target: &mut Map<String, Value>,
    name: &str,
    value: &Value,
    order: Option<&Value>,
) {
    let merges = matches!(schema.map(|s| &s.merge), Some(Merge::Keyed(_) | Merge::Set));
    match value {
        Value::Null => {
            target.remove(name);
        }
        Value::Object(_) => apply(schema, target.entry(name).or_insert(Value::Null), value),
        Value::Array(patch) if merges => {
            let list = target.entry(name).or_insert(Value::Null);
            let before = list.as_array().cloned().unwrap_or_default();
            let key = Key::of(schema);
            let mut items = merged(schema, key, before.clone(), patch);
            sort(
                key,
                &mut items,
                &before,
                order.map_or(patch, |o| o.items("")),
            );
            *list = Value::Array(items);
        }
        _ => {
            target.insert(name.to_owned(), value.clone());
        }
    }
}

fn merged(
    list: Option<&Schema>,
    key: Key<'_>,
    mut items: Vec<Value>,
    patch: &[Value],
) -> Vec<Value> {
    let directive = |item: &Value| {
        item.get(DIRECTIVE)
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
    };
    if patch
        .iter()
        .any(|p| directive(p).as_deref() == Some("replace"))
    {
        items.clear();
    }
    let schema = list.and_then(|s| s.items.as_deref());
    for item in patch {
        match (directive(item).as_deref(), key.place(&items, item)) {
            (Some("delete"), Some(at)) => drop(items.remove(at)),
            (Some("replace" | "delete"), _) => {}
            (_, Some(at)) => apply(schema, &mut items[at], item),
            (_, None) => {
                let mut new = Value::Null;
                apply(schema, &mut new, item);
                items.push(new);
            }
        }
    }
    items
}

/// Sorts the items named in `order` by it, and keeps the others at their previous positions in between.
fn sort(key: Key<'_>, items: &mut Vec<Value>, before: &[Value], order: &[Value]) {
    let (mut named, others): (Vec<_>, Vec<_>) = items
        .drain(..)
        .partition(|item| key.place(order, item).is_some());
    named.sort_by_key(|item| key.place(order, item));
    let mut others = others.into_iter().peekable();
    for item in named {
        let place = key.place(before, &item);
        while others
            .peek()
            .is_some_and(|o| place.is_some() && key.place(before, o) < place)
        {
            items.extend(others.next());
        }
        items.push(item);
    }
    items.extend(others);
}

/// A replacement without its directive.
fn plain(patch: &Map<String, Value>) -> Value {
    let kept = patch.iter().filter(|(name, _)| *name != DIRECTIVE);
    Value::Object(kept.map(|(n, v)| (n.clone(), v.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::resources::Catalog;
    use super::*;

    fn patched(mut pod: Value, patch: &Value) -> Value {
        let resource = Catalog::builtin().find("", "v1", "pods").expect("built in");
        apply(Some(&resource.schema), &mut pod, patch);
        pod
    }

    fn pod() -> Value {
        json!({"spec": {"containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "b:1"},
        ]}})
    }

    #[test]
    fn containers_merge_by_name() {
        let patch = json!({"spec": {"containers": [
            {"name": "b", "image": "b:2"},
            {"name": "a", "env": [{"name": "Y", "value": "2"}]},
        ]}});
        let expected = json!({"spec": {"containers": [
            {"name": "b", "image": "b:2"},
            {"name": "a", "image": "a:1", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        ]}});
        assert_eq!(patched(pod(), &patch), expected);
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x/y"]},
            "spec": {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
                "containers": [{"name": "a", "$patch": "delete"}, {"name": "c", "image": "c:1"}],
                "securityContext": {"$patch": "replace", "runAsUser": 1},
            },
        });
        let mut before = pod();
        before.put("/metadata/finalizers", json!(["x/y", "z/w"]));
        before.put("/spec/securityContext/runAsGroup", 5);
        let expected = json!({
            "metadata": {"finalizers": ["z/w"]},
            "spec": {
                "containers": [{"name": "c", "image": "c:1"}, {"name": "b", "image": "b:1"}],
                "securityContext": {"runAsUser": 1},
            },
        });
        assert_eq!(patched(before, &patch), expected);
    }
}
