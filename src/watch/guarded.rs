//! An object of a list or watch that may not be parsable, so that it hides no other.
//!
//! A schema does not exclude that: the API server accepts any RFC 3339 time of the year 9999, and jiff none after its 30
//! December. Tenants write the times of Leases and Events, and times and depth of `managedFields`. kube's own `DeserializeGuard`
//! fails the whole list if the metadata cannot be parsed.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::{Map, Value};

/// Depth below which values are left out. `serde_json` fails a whole document that is deeper than 128, list and watch included;
/// no field that is read lies deeper than ten.
const DEPTH: usize = 64;

/// An object, or the reason it cannot be parsed.
#[derive(Clone, Debug)]
pub struct Guarded<K>(Result<K, Unparsable>);

/// Reason that an object cannot be parsed, with the part of its metadata that identifies it.
#[derive(Clone, Debug)]
struct Unparsable {
    error: String,
    metadata: ObjectMeta,
}

impl<K: Resource<DynamicType = ()>> Guarded<K> {
    /// The object; `None` and a warning if it cannot be parsed.
    pub fn parsed(&self) -> Option<&K> {
        match &self.0 {
            Ok(object) => Some(object),
            Err(Unparsable { error, metadata }) => {
                tracing::warn!(
                    kind = &*K::kind(&()),
                    namespace = metadata.namespace,
                    name = metadata.name,
                    error,
                    "object cannot be parsed; it is ignored"
                );
                None
            }
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Part { depth: DEPTH }.deserialize(deserializer)?;
        Ok(Self(K::deserialize(&object).map_err(|error| Unparsable {
            error: error.to_string(),
            metadata: identity(&object),
        })))
    }
}

/// Reads a value as deep as `depth`, and no deeper.
#[derive(Clone, Copy)]
struct Part {
    depth: usize,
}

impl Part {
    fn inner(self) -> Self {
        Self {
            depth: self.depth - 1,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth == 0 {
            // Skipped without recursion.
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = from.next_element_seed(self.inner())? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(self.inner())?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

/// The metadata that the watch and its warning need.
fn identity(object: &Value) -> ObjectMeta {
    let text = |field: &str| {
        let value = object.get("metadata")?.get(field)?;
        Some(value.as_str()?.to_owned())
    };
    ObjectMeta {
        namespace: text("namespace"),
        name: text("name"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unparsable) => &unparsable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unparsable) => &mut unparsable.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::core::ObjectList;
    use rstest::rstest;

    use super::*;

    fn list(object: &str) -> ObjectList<Guarded<Lease>> {
        let list = format!(
            r#"{{"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {{"resourceVersion": "8"}},
                "items": [{object}, {{"metadata": {{"name": "ordinary"}}}}]}}"#
        );
        assert!(serde_json::from_str::<ObjectList<Lease>>(&list).is_err());
        serde_json::from_str(&list).unwrap()
    }

    /// Attack: an object with the last time that Go can parse, which jiff cannot. Defence: it alone is ignored.
    #[rstest]
    #[case::in_the_spec("", r#""spec": {"renewTime": "9999-12-31T23:59:59.000000Z"}"#)]
    #[case::in_the_metadata(
        r#", "managedFields": [{"time": "9999-12-31T23:59:59Z"}]"#,
        r#""spec": {}"#
    )]
    fn unparsable_object_hides_no_other(#[case] metadata: &str, #[case] spec: &str) {
        let list = list(&format!(
            r#"{{"metadata": {{"namespace": "tenant", "name": "l", "uid": "u", "resourceVersion": "7"{metadata}}}, {spec}}}"#
        ));
        let parsed: Vec<_> = list.items.iter().map(Guarded::parsed).collect();
        assert_eq!(parsed[0], None);
        assert_eq!(
            parsed[1].unwrap().metadata.name.as_deref(),
            Some("ordinary")
        );
        let meta = list.items[0].meta();
        let found = [
            &meta.namespace,
            &meta.name,
            &meta.uid,
            &meta.resource_version,
        ];
        assert_eq!(
            found.map(Option::as_deref),
            ["tenant", "l", "u", "7"].map(Some)
        );
    }

    /// Attack: `managedFields` so deep that no parser with a recursion limit reads the list. Defence: a value is read to a limited
    /// depth.
    #[test]
    fn deep_object_hides_no_other() {
        let deep = r#"{"f:x": "#.repeat(500) + "1" + &"}".repeat(500);
        let list = list(&format!(
            r#"{{"metadata": {{"name": "l", "managedFields": [{{"fieldsV1": {deep}}}]}}}}"#
        ));
        let names = list
            .items
            .iter()
            .map(|it| it.parsed().unwrap().metadata.name.as_deref());
        assert_eq!(names.collect::<Vec<_>>(), [Some("l"), Some("ordinary")]);
    }
}
