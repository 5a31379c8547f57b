//! Access to JSON by pointer, as the types of objects are known only at run time.

use serde_json::{Map, Value};

/// Pointer access that never fails: an absent value reads as empty, and a write replaces values in its way.
pub trait Json {
    /// The string at `pointer`, or `""`.
    fn text(&self, pointer: &str) -> &str;
    /// The integer at `pointer`.
    fn integer(&self, pointer: &str) -> Option<i64>;
    /// Whether `pointer` holds `true`.
    fn truth(&self, pointer: &str) -> bool;
    /// The items of the array at `pointer`, or none.
    fn items(&self, pointer: &str) -> &[Value];
    /// The entries of the object at `pointer`.
    fn entries(&self, pointer: &str) -> impl Iterator<Item = (&String, &Value)>;
    /// Sets `pointer`, and creates the objects on its path.
    fn put(&mut self, pointer: &str, value: impl Into<Value>);
    /// Removes the value at `pointer`.
    fn cut(&mut self, pointer: &str) -> Option<Value>;
    /// Sets `pointer` to its value in `other`, or removes it.
    fn copy(&mut self, pointer: &str, other: &Value);
}

impl Json for Value {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn integer(&self, pointer: &str) -> Option<i64> {
        self.pointer(pointer).and_then(Value::as_i64)
    }

    fn truth(&self, pointer: &str) -> bool {
        self.pointer(pointer) == Some(&Value::Bool(true))
    }

    fn items(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn entries(&self, pointer: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.pointer(pointer)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    }

    fn put(&mut self, pointer: &str, value: impl Into<Value>) {
        let mut here = self;
        for part in pointer.split('/').skip(1) {
            here = object(here).entry(unescape(part)).or_insert(Value::Null);
        }
        *here = value.into();
    }

    fn cut(&mut self, pointer: &str) -> Option<Value> {
        let (parent, last) = pointer.rsplit_once('/')?;
        self.pointer_mut(parent)?
            .as_object_mut()?
            .remove(&unescape(last))
    }

    fn copy(&mut self, pointer: &str, other: &Value) {
        match other.pointer(pointer) {
            Some(value) => self.put(pointer, value.clone()),
            None => drop(self.cut(pointer)),
        }
    }
}

/// The object in `value`, which is replaced by an empty one if it is not an object.
pub fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// Escapes `/` and `~` in a key of a JSON pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The key in a part of a JSON pointer.
pub fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Common metadata of all objects.
pub trait Meta {
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`, empty for cluster-scoped objects.
    fn namespace(&self) -> &str;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `metadata.resourceVersion`.
    fn version(&self) -> &str;
    /// Whether the deletion was requested.
    fn deleting(&self) -> bool;
    /// `metadata.finalizers`.
    fn finalizers(&self) -> impl Iterator<Item = &str>;
}

impl Meta for Value {
    fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    fn version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    fn deleting(&self) -> bool {
        !self.text("/metadata/deletionTimestamp").is_empty()
    }

    fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.items("/metadata/finalizers")
            .iter()
            .filter_map(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn put_creates_the_path_and_cut_removes_only_the_leaf() {
        let mut value = json!({"a": 1});
        value.put("/b/c~1d", "x");
        assert_eq!(value, json!({"a": 1, "b": {"c/d": "x"}}));
        assert_eq!(value.cut("/b/c~1d"), Some(json!("x")));
        assert_eq!(value, json!({"a": 1, "b": {}}));
        assert_eq!(value.cut("/z/y"), None);
    }

    #[test]
    fn copy_removes_an_absent_value() {
        let mut value = json!({"status": {"phase": "Bound"}});
        value.copy("/status", &json!({}));
        assert_eq!(value, json!({}));
    }
}
