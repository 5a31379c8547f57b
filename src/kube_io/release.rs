//! Releases a hold: read the object, undo what its mark says, on exactly the version read.
//!
//! The daemon and a person at the command line release by the same few lines; neither needs the other.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, Tried, WriteError, bounded};
use crate::api::volsync::ReplicationSource;
use crate::holds::{HOLD_ANNOTATION, Hold};
use crate::model::{ObjectKey, ObjectKind, Uid};

/// Objects read at a time.
const PAGE: u32 = 500;

/// Kinds that holds can be on.
const SWITCHABLE: [ObjectKind; 2] = [
    ObjectKind::ReplicationSource,
    ObjectKind::PersistentVolumeClaim,
];

/// The resource of a kind that holds can be on.
pub(super) fn switchable(kind: ObjectKind) -> Option<ApiResource> {
    match kind {
        ObjectKind::ReplicationSource => Some(ApiResource::erase::<ReplicationSource>(&())),
        ObjectKind::PersistentVolumeClaim => Some(ApiResource::erase::<PersistentVolumeClaim>(&())),
        _ => None,
    }
}

/// Releases the hold `object` carries; where one was decided on, only if it is that one still. `may` is asked just before
/// the write.
pub async fn release(
    client: &Client,
    object: &ObjectKey,
    decided: Option<&Hold>,
    may: impl FnOnce() -> Result<(), WriteError>,
) -> Result<Tried, WriteError> {
    let Some(resource) = switchable(object.kind) else {
        return Ok(Tried::LeftAlone("has no switch".to_owned()));
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace, &resource);
    let live = bounded("get", || object.to_string(), api.get_opt(&object.name)).await?;
    let live = live.map(|live| json!(live));
    let left = |why: &str| Ok(Tried::LeftAlone(why.to_owned()));
    let hold = live.as_ref().and_then(|live| Hold::of(object.kind, live));
    let Some(hold) = hold else {
        return left("is not held");
    };
    if decided.is_some_and(|it| (&it.run, it.until) != (&hold.run, hold.until)) {
        return left("is held by another run by now");
    }
    match live
        .as_ref()
        .and_then(|live| Hold::release(object.kind, live))
    {
        None => left("was read without a resourceVersion"),
        Some(patch) => {
            may()?;
            merge(&api, "release", object, &patch).await
        }
    }
}

/// One merge patch that the API server holds to the schema: an unknown field would otherwise be dropped in silence.
pub(super) async fn merge<K>(
    api: &Api<K>,
    verb: &'static str,
    object: &ObjectKey,
    patch: &Value,
) -> Result<Tried, WriteError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    let call = api.patch(&object.name, &params, &patch);
    bounded(verb, || object.to_string(), call).await?;
    Ok(Tried::Written)
}

/// Every object that carries our mark, in `namespace` or all. A kind the cluster does not serve has none.
pub async fn held(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<(ObjectKey, Hold)>, WriteError> {
    let mut held = Vec::new();
    for (kind, resource) in SWITCHABLE
        .into_iter()
        .filter_map(|kind| Some((kind, switchable(kind)?)))
    {
        let api: Api<PartialObjectMeta<DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let listed = bounded("list", || kind.as_str().to_owned(), api.list(&params)).await;
            let page = match listed {
                Err(error) if error.kind() == "not_found" => break,
                other => other?,
            };
            held.extend(page.items.iter().filter_map(|object| marked(kind, object)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(held)
}

fn marked(kind: ObjectKind, object: &impl ResourceExt) -> Option<(ObjectKey, Hold)> {
    let hold = Hold::parse(kind, object.annotations().get(HOLD_ANNOTATION)?)?;
    let key = ObjectKey {
        kind,
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
        uid: Uid::from(object.uid()?.as_str()),
    };
    Some((key, hold))
}
