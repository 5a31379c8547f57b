//! Reads what a batch is about to switch, in a few lists rather than a request for each object.
//!
//! It saves requests and decides nothing, which is why what the API server has in its cache will do: a write names the version
//! that was read, so that it is refused where the object has changed since, and whatever is not written is read alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::release::switchable;
use super::{Tried, WriteError, bounded};
use crate::api::volsync::USE_COPY_TRIGGER;
use crate::holds::HOLD_ANNOTATION;
use crate::model::{Model, ObjectKey, ObjectKind, Sym, Uid};

/// So many objects of a kind in a namespace are worth a list.
const WORTH: usize = 8;

/// So many times as many may be there.
const AMONG: usize = 4;

/// And not more than this, as many as a page of a watch's list: one from the cache comes whole.
const MOST: usize = 500;

/// Lists under way at once.
const CONCURRENCY: usize = 2;

/// How long all of them may take: what has not come by then is read alone, and no write waits any longer.
const WITHIN: Duration = Duration::from_secs(2);

/// Objects as they were a moment ago.
#[derive(Debug, Default)]
pub struct Ahead(HashMap<ObjectKey, DynamicObject>);

/// What is wanted of one kind in one namespace.
type Wanted = HashMap<(ObjectKind, Sym), HashSet<ObjectKey>>;

impl Ahead {
    /// Reads what is `wanted`, as far as it can be read soon.
    pub(super) async fn read(client: &Client, wanted: Wanted) -> Self {
        let mut lists = Vec::with_capacity(wanted.len());
        for ((kind, namespace), wanted) in wanted {
            lists.push(list(client, kind, namespace, wanted));
        }
        let mut lists = futures::stream::iter(lists).buffer_unordered(CONCURRENCY);
        let mut ahead = Self::default();
        let _ = tokio::time::timeout(WITHIN, async {
            while let Some(listed) = lists.next().await {
                ahead.0.extend(listed);
            }
        })
        .await;
        ahead
    }

    /// The object as it was.
    pub fn get(&self, object: &ObjectKey) -> Option<&DynamicObject> {
        self.0.get(object)
    }
}

/// Whether what came of an object that was read ahead is so. That it is to be left alone is not, nor that somebody has written
/// to it since, or deleted it: it has to be read alone.
pub(super) fn stands(tried: &Result<Tried, WriteError>) -> bool {
    match tried {
        Ok(Tried::Written) => true,
        Ok(Tried::LeftAlone(_)) => false,
        Err(error) => !matches!(error.kind(), "conflict" | "not_found"),
    }
}

/// Those of `objects` that are worth a list in this cluster.
pub(super) fn worth_a_list<'o>(
    model: &Model,
    objects: impl Iterator<Item = &'o ObjectKey>,
) -> Wanted {
    let mut wanted = Wanted::new();
    for object in objects.filter(|object| switchable(object.kind).is_some()) {
        let place = (object.kind, object.namespace.clone());
        wanted.entry(place).or_default().insert(object.clone());
    }
    wanted.retain(|_, wanted| wanted.len() >= WORTH);
    let mut there: HashMap<(ObjectKind, &Sym), usize> = HashMap::new();
    let sources = model.sources.iter().map(|it| &it.meta.namespace);
    let claims = model.claims.iter().map(|it| &it.meta.namespace);
    let sources = sources.map(|it| (ObjectKind::ReplicationSource, it));
    let claims = claims.map(|it| (ObjectKind::PersistentVolumeClaim, it));
    if !wanted.is_empty() {
        for place in sources.chain(claims) {
            *there.entry(place).or_default() += 1;
        }
    }
    wanted.retain(|(kind, namespace), wanted| {
        let there = there.get(&(*kind, namespace)).copied().unwrap_or(0);
        there <= MOST.min(wanted.len() * AMONG)
    });
    wanted
}

async fn list(
    client: &Client,
    kind: ObjectKind,
    namespace: Sym,
    wanted: HashSet<ObjectKey>,
) -> Vec<(ObjectKey, DynamicObject)> {
    let Some(resource) = switchable(kind) else {
        return Vec::new();
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let params = ListParams::default().match_any();
    let name = || format!("each {} of {namespace}", kind.as_str());
    let listed = match bounded("list", name, api.list(&params)).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::debug!(%error, "not read ahead");
            return Vec::new();
        }
    };
    let named = listed.items.into_iter().map(|object| {
        let key = ObjectKey {
            kind,
            namespace: namespace.clone(),
            name: object.name_any().into(),
            uid: Uid::from(object.uid().unwrap_or_default()),
        };
        (key, object)
    });
    let ours = named.filter(|(key, _)| wanted.contains(key));
    ours.map(|(key, object)| (key, cut(object))).collect()
}

/// Without what no switch looks at, which is most of it.
fn cut(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|name, _| [HOLD_ANNOTATION, USE_COPY_TRIGGER].contains(&&**name));
    }
    object.data = json!({ "spec": object.data["spec"].take() });
    object
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::fixture::{World, source};

    #[test]
    fn that_an_object_is_to_be_left_alone_is_found_by_reading_it_alone() {
        let gone = WriteError::Gone {
            object: String::new(),
        };
        assert!(stands(&Ok(Tried::Written)));
        assert!(stands(&Err(WriteError::NotLeader)));
        assert!(stands(&Err(gone)));
        assert!(!stands(&Ok(Tried::LeftAlone("is not held".to_owned()))));
    }

    /// So many are wanted of as many sources as there are.
    #[rstest]
    #[case::few(7, 7, false)]
    #[case::enough(8, 8, true)]
    #[case::among_some(8, 32, true)]
    #[case::among_many(8, 33, false)]
    #[case::all_of_a_crowd(500, 500, true)]
    #[case::too_much_for_a_list(501, 501, false)]
    fn a_list_is_worth_it(#[case] wanted: usize, #[case] there: usize, #[case] worth: bool) {
        let sources: Vec<_> = (0..there)
            .map(|at| source("media", &format!("app-{at}")))
            .collect();
        let keys: Vec<_> = sources
            .iter()
            .map(|source| source.meta.key(ObjectKind::ReplicationSource))
            .collect();
        let world = sources.into_iter().fold(World::rook(), World::with);
        let lists = worth_a_list(&world.0, keys.iter().take(wanted));
        assert_eq!(lists.len(), usize::from(worth));
        assert!(lists.values().all(|list| list.len() == wanted));
    }
}
