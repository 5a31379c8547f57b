//! How a value merges: as one value, by field, or by item.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::schema::{Form, Merge, Schema};
use super::fields::field;

/// Shape of a value for a merge.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'s> {
    /// One value.
    Leaf,
    /// Fields, with their schema.
    Map(Option<&'s Schema>),
    /// Items with keys.
    List(Items<'s>),
}

/// Items of an associative list.
#[derive(Clone, Copy, Debug)]
pub struct Items<'s> {
    /// The items' schema.
    pub schema: Option<&'s Schema>,
    /// Key fields and their defaults; empty for a set of scalars.
    keys: &'s [(String, Option<Value>)],
}

impl<'s> Shape<'s> {
    /// The shape of a value; without a schema, maps merge by field and lists are one value.
    pub fn of(schema: Option<&'s Schema>, value: &Value) -> Self {
        let Some(schema) = schema else {
            return if value.is_object() {
                Self::Map(None)
            } else {
                Self::Leaf
            };
        };
        match (&schema.merge, schema.form, value) {
            (Merge::Atomic, _, _) => Self::Leaf,
            (Merge::Set, _, Value::Array(_)) => Self::List(Items {
                schema: schema.items.as_deref(),
                keys: &[],
            }),
            (Merge::Keyed(keys), _, Value::Array(_)) => Self::List(Items {
                schema: schema.items.as_deref(),
                keys,
            }),
            (_, Form::Object | Form::Any, Value::Object(_)) => Self::Map(Some(schema)),
            _ => Self::Leaf,
        }
    }
}

impl Items<'_> {
    /// Path element of an item: its keys, or its value.
    pub fn element(&self, item: &Value) -> String {
        if self.keys.is_empty() {
            return format!("v:{item}");
        }
        let keys: Map<String, Value> = self
            .keys
            .iter()
            .filter_map(|(key, default)| {
                let value = item.get(key).or(default.as_ref())?;
                Some((key.clone(), value.clone()))
            })
            .collect();
        format!("k:{}", Value::Object(keys))
    }

    /// The items with their path elements, in order.
    pub fn index<'v>(&self, list: Option<&'v Value>) -> Vec<(String, &'v Value)> {
        let items = list.and_then(Value::as_array).into_iter().flatten();
        items.map(|item| (self.element(item), item)).collect()
    }
}

/// The fields of two objects: each name once, with its schema and both values.
pub fn zip<'v, 's>(
    schema: Option<&'s Schema>,
    left: Option<&'v Value>,
    right: Option<&'v Value>,
) -> Vec<Pair<'v, 's>> {
    let of = |v: Option<&'v Value>| v.and_then(Value::as_object);
    let (left, right) = (of(left), of(right));
    let fields: BTreeSet<&String> = left.into_iter().chain(right).flat_map(Map::keys).collect();
    fields
        .into_iter()
        .map(|name| {
            let (schema, named) = schema.map_or((None, false), |s| s.field(name));
            Pair {
                name,
                element: field(name),
                schema: schema.map(AsRef::as_ref),
                named,
                left: left.and_then(|m| m.get(name)),
                right: right.and_then(|m| m.get(name)),
            }
        })
        .collect()
}

/// One field of two objects.
#[derive(Debug)]
pub struct Pair<'v, 's> {
    /// Its name.
    pub name: &'v str,
    /// Its path element.
    pub element: String,
    /// Its schema; `None` means any value.
    pub schema: Option<&'s Schema>,
    /// Whether the schema names it, as a field of a struct; otherwise it is a key of a map.
    pub named: bool,
    /// Its value on the left.
    pub left: Option<&'v Value>,
    /// Its value on the right.
    pub right: Option<&'v Value>,
}

/// Whether the value is absent, null or empty; the three differ only where it is one value.
pub fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
