//! RFC 6902 JSON Patch: a list of operations, all or none.

use serde::Deserialize;
use serde_json::Value;

use super::super::json::unescape;

/// One operation.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Applies the operations in order; on an error the document is to be thrown away.
pub fn apply(document: &mut Value, operations: &[Operation]) -> Result<(), String> {
    operations.iter().try_for_each(|o| o.apply(document))
}

impl Operation {
    fn apply(&self, document: &mut Value) -> Result<(), String> {
        match self {
            Self::Add { path, value } => add(document, path, value.clone()),
            Self::Remove { path } => remove(document, path).map(drop),
            Self::Replace { path, value } => {
                let place = document
                    .pointer_mut(path)
                    .ok_or_else(|| format!("replace operation does not apply: doc is missing key: {path}: missing value"))?;
                place.clone_from(value);
                Ok(())
            }
            Self::Move { from, path } => {
                let value = remove(document, from)?;
                add(document, path, value)
            }
            Self::Copy { from, path } => {
                let value = document.pointer(from).cloned();
                let value = value.ok_or_else(|| {
                    format!("copy operation does not apply: doc is missing from path: {from}")
                })?;
                add(document, path, value)
            }
            Self::Test { path, value } => {
                let found = document.pointer(path).unwrap_or(&Value::Null);
                if found == value {
                    Ok(())
                } else {
                    Err(format!("testing value {path} failed: test failed"))
                }
            }
        }
    }
}

/// The container a path ends in, and its last part.
fn parent<'d>(document: &'d mut Value, path: &str) -> Option<(&'d mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((document.pointer_mut(parent)?, unescape(last)))
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let missing =
        || format!("add operation does not apply: doc is missing path: {path:?}: missing value");
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    match parent(document, path).ok_or_else(missing)? {
        (Value::Object(map), name) => {
            map.insert(name, value);
        }
        (Value::Array(items), index) => {
            let index = match index.as_str() {
                "-" => items.len(),
                index => index.parse().map_err(|_| missing())?,
            };
            if index > items.len() {
                return Err(missing());
            }
            items.insert(index, value);
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, String> {
    let missing =
        || format!("remove operation does not apply: doc is missing path: {path:?}: missing value");
    match parent(document, path).ok_or_else(missing)? {
        (Value::Object(map), name) => map.remove(&name).ok_or_else(missing),
        (Value::Array(items), index) => {
            let index: usize = index.parse().map_err(|_| missing())?;
            if index < items.len() {
                Ok(items.remove(index))
            } else {
                Err(missing())
            }
        }
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(mut document: Value, operations: Value) -> Result<Value, String> {
        let operations: Vec<Operation> =
            serde_json::from_value(operations).map_err(|e| e.to_string())?;
        apply(&mut document, &operations).map(|()| document)
    }

    #[test]
    fn operations_apply_in_order() {
        let operations = json!([
            {"op": "test", "path": "/a~1b", "value": 1},
            {"op": "add", "path": "/list/-", "value": "z"},
            {"op": "add", "path": "/list/0", "value": "a"},
            {"op": "move", "from": "/a~1b", "path": "/c"},
            {"op": "copy", "from": "/c", "path": "/d"},
            {"op": "replace", "path": "/c", "value": 2},
            {"op": "remove", "path": "/list/1"},
        ]);
        let document = json!({"a/b": 1, "list": ["m"]});
        let expected = json!({"c": 2, "d": 1, "list": ["a", "z"]});
        assert_eq!(patched(document, operations), Ok(expected));
    }

    #[test]
    fn what_is_not_there_cannot_be_changed() {
        for operation in [
            json!([{"op": "replace", "path": "/x", "value": 1}]),
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "test", "path": "/x", "value": 1}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "add", "path": "/list/5", "value": 1}]),
        ] {
            assert!(
                patched(json!({"list": []}), operation.clone()).is_err(),
                "{operation}"
            );
        }
    }
}
