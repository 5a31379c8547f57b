//! Releases a hold: read the object, undo what its mark says, on exactly the version read.
//!
//! The daemon and a person at the command line release by the same few lines; neither needs the other.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::ahead::stands;
use super::{Ahead, FIELD_MANAGER, Tried, WriteError, bounded};
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
/// each write.
pub async fn release(
    client: &Client,
    object: &ObjectKey,
    decided: Option<&Hold>,
    ahead: &Ahead,
    may: impl Fn() -> Result<(), WriteError>,
) -> Result<Tried, WriteError> {
    let Some(resource) = switchable(object.kind) else {
        return Ok(Tried::LeftAlone("has no switch".to_owned()));
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &object.namespace, &resource);
    let attempt = async |live: &Value| {
        let left = |why: &str| Ok(Tried::LeftAlone(why.to_owned()));
        let Some(hold) = Hold::of(object.kind, live) else {
            return left("is not held");
        };
        if decided.is_some_and(|it| (&it.run, it.until) != (&hold.run, hold.until)) {
            return left("is held by another run by now");
        }
        match Hold::release(object.kind, live) {
            None => left("was read without a resourceVersion"),
            Some(patch) => {
                may()?;
                merge(&api, "release", object, &patch).await
            }
        }
    };
    if let Some(live) = ahead.get(object) {
        let tried = attempt(&json!(live)).await;
        if stands(&tried) {
            return tried;
        }
    }
    let live = bounded("get", || object.to_string(), api.get_opt(&object.name)).await?;
    attempt(&json!(live)).await
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
    // What it has become, the watch shows.
    let call = api.patch_metadata(&object.name, &params, &patch);
    bounded(verb, || object.to_string(), call).await?;
    Ok(Tried::Written)
}

/// What carries our mark.
#[derive(Debug, Default)]
pub struct Marked {
    /// Each object with what its mark says.
    pub held: Vec<(ObjectKey, Hold)>,
    /// Those whose mark cannot be read.
    pub unreadable: Vec<ObjectKey>,
}

/// Every object that carries our mark, in `namespace` or all. A kind the cluster does not serve has none.
pub async fn marked(client: &Client, namespace: Option<&str>) -> Result<Marked, WriteError> {
    let mut marked = Marked::default();
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
            page.items
                .iter()
                .for_each(|object| marked.note(kind, object));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(marked)
}

impl Marked {
    fn note(&mut self, kind: ObjectKind, object: &impl ResourceExt) {
        let mark = object.annotations().get(HOLD_ANNOTATION);
        let (Some(mark), Some(uid)) = (mark, object.uid()) else {
            return;
        };
        let key = ObjectKey {
            kind,
            namespace: object.namespace().unwrap_or_default().into(),
            name: object.name_any().into(),
            uid: Uid::from(&*uid),
        };
        match Hold::parse(kind, mark) {
            Some(hold) => self.held.push((key, hold)),
            None => self.unreadable.push(key),
        }
    }
}
