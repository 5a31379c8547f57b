//! Objects of any kind, as JSON.

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::{Api, Client};
use serde_json::Value;

/// Creates `object`, with its `apiVersion` and `kind`; returns it as stored.
pub async fn create(client: &Client, object: Value) -> DynamicObject {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.as_ref().expect("an object has its kind");
    let api = api(client, types, object.metadata.namespace.as_deref());
    let created = api.create(&PostParams::default(), &object).await;
    created.unwrap_or_else(|error| panic!("{error}: {object:#?}"))
}

/// The objects of a kind in all namespaces.
pub fn all(client: &Client, api_version: &str, kind: &str) -> Api<DynamicObject> {
    within(client, api_version, kind, None)
}

/// The objects of a kind in one or all namespaces.
pub fn within(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let types = TypeMeta {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    api(client, &types, namespace)
}

fn api(client: &Client, types: &TypeMeta, namespace: Option<&str>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::try_from(types).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}
