//! How a value takes part in merging: as one, field by field, or item by item.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::schema::{Form, Merge, Schema};
use super::fields::field;

/// What a value is to a merge.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'s> {
    /// One value.
    Leaf,
    /// Fields, with the schema that knows them.
    Map(Option<&'s Schema>),
    /// Items told apart by what is in them.
    List(Items<'s>),
}

/// An associative list's items.
#[derive(Clone, Copy, Debug)]
pub struct Items<'s> {
    /// The items' schema.
    pub schema: Option<&'s Schema>,
    /// Key fields and their defaults; none is a set of scalars.
    keys: &'s [(String, Option<Value>)],
}

impl<'s> Shape<'s> {
    /// The shape of a value; without a schema maps are open and lists are one value.
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
    /// The path element of an item: its keys, or itself.
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

    /// The items with their elements, in order.
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
    /// Its schema; `None` is "anything".
    pub schema: Option<&'s Schema>,
    /// The schema names it: a struct's field, not a map's key.
    pub named: bool,
    /// Its value on the left.
    pub left: Option<&'v Value>,
    /// Its value on the right.
    pub right: Option<&'v Value>,
}

/// Absent, null or without content: told apart from each other only as one value.
pub fn is_hollow(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
