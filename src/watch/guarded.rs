//! An object of a list or watch that may not be parsable, so that it hides no other.
//!
//! A schema does not exclude that: the API server accepts any RFC 3339 time of the year 9999, of which jiff has no last two
//! hours, and tenants write the times of Leases and Events, and of `managedFields`. kube's own `DeserializeGuard` fails the
//! whole list if the metadata cannot be parsed.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

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
        let object = Value::deserialize(deserializer)?;
        Ok(Self(K::deserialize(&object).map_err(|error| Unparsable {
            error: error.to_string(),
            metadata: identity(&object),
        })))
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
    use serde_json::json;

    use super::*;

    /// Attack: an object with the last time that Go can parse, which jiff cannot. Defence: it alone is ignored.
    #[rstest]
    #[case::in_the_spec(json!({
        "metadata": {"namespace": "tenant", "name": "l", "uid": "u", "resourceVersion": "7"},
        "spec": {"renewTime": "9999-12-31T23:59:59.000000Z"},
    }))]
    #[case::in_the_metadata(json!({
        "metadata": {
            "namespace": "tenant", "name": "l", "uid": "u", "resourceVersion": "7",
            "managedFields": [{"time": "9999-12-31T23:59:59Z"}],
        },
    }))]
    fn unparsable_object_hides_no_other(#[case] object: Value) {
        let list = json!({
            "kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"resourceVersion": "8"},
            "items": [object, {"metadata": {"name": "ordinary"}}],
        });
        assert!(serde_json::from_value::<ObjectList<Lease>>(list.clone()).is_err());
        let list: ObjectList<Guarded<Lease>> = serde_json::from_str(&list.to_string()).unwrap();
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
}
