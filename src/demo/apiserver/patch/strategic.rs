//! Strategic merge patch: a merge patch that knows which lists merge item by item, with its directives.
//!
//! Upstream: `apimachinery/pkg/util/strategicpatch`. Merge keys are those of server-side apply; the first
//! of several, as upstream's `patchMergeKey` is.

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
        if let Some(list) = name.strip_prefix(DELETE_SCALARS) {
            if let Some(Value::Array(items)) = target.get_mut(list) {
                items.retain(|i| !value.as_array().is_some_and(|gone| gone.contains(i)));
            }
        } else if !name.starts_with('$') {
            field(
                schema.and_then(|s| s.field(name).0.map(AsRef::as_ref)),
                target,
                name,
                value,
            );
        }
    }
    for (name, order) in patch {
        let list = name
            .strip_prefix(ORDER)
            .and_then(|n| target.get_mut(n).map(|v| (n, v)));
        if let Some((name, Value::Array(items))) = list {
            let schema = schema.and_then(|s| s.field(name).0.map(AsRef::as_ref));
            sort(schema, items, order);
        }
    }
}

fn field(schema: Option<&Schema>, target: &mut Map<String, Value>, name: &str, value: &Value) {
    match (value, schema.map(|s| &s.merge)) {
        (Value::Null, _) => {
            target.remove(name);
        }
        (Value::Object(_), _) => {
            apply(schema, target.entry(name).or_insert(Value::Null), value);
        }
        (Value::Array(patch), Some(Merge::Keyed(keys))) if !keys.is_empty() => {
            let list = target
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                let schema = schema.and_then(|s| s.items.as_deref());
                merge_items(schema, &keys[0].0, items, patch);
            }
        }
        (Value::Array(patch), Some(Merge::Set)) => {
            let list = target
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                let new: Vec<_> = patch
                    .iter()
                    .filter(|p| !items.contains(p))
                    .cloned()
                    .collect();
                items.extend(new);
            }
        }
        _ => {
            target.insert(name.to_owned(), value.clone());
        }
    }
}

fn merge_items(schema: Option<&Schema>, key: &str, items: &mut Vec<Value>, patch: &[Value]) {
    if patch
        .iter()
        .any(|p| p.get(DIRECTIVE).is_some_and(|d| d == "replace"))
    {
        items.clear();
    }
    for item in patch {
        let place = items.iter().position(|i| i.get(key) == item.get(key));
        match (item.get(DIRECTIVE).and_then(Value::as_str), place) {
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
}

/// Items in the order given; those it does not name keep their place after the one before them.
fn sort(schema: Option<&Schema>, items: &mut [Value], order: &Value) {
    let key = match schema.map(|s| &s.merge) {
        Some(Merge::Keyed(keys)) => keys.first().map(|(key, _)| key.as_str()),
        _ => None,
    };
    let identity = |v: &Value| key.map_or_else(|| Some(v.clone()), |k| v.get(k).cloned());
    let order: Vec<_> = order.items("").iter().map(identity).collect();
    let mut last = 0;
    let mut ranks: Vec<_> = items
        .iter()
        .map(|item| {
            let rank = order.iter().position(|o| *o == identity(item));
            last = rank.unwrap_or(last);
            (last, item.clone())
        })
        .collect();
    ranks.sort_by_key(|(rank, _)| *rank);
    for (place, (_, item)) in items.iter_mut().zip(ranks) {
        *place = item;
    }
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
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:2"},
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
