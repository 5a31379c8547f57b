//! Reads what a batch is about to switch, in a few lists rather than a request for each object, and hands on each object as soon
//! as it is read, so that some are written while others are listed.
//!
//! It saves requests and decides nothing, which is why what the API server has in its cache will do: a write names the version
//! that was read, so that it is refused where the object has changed since, and whatever is not written is read alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

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

impl Ahead {
    /// The object as it was.
    pub fn get(&self, object: &ObjectKey) -> Option<&DynamicObject> {
        self.0.get(object)
    }
}

/// A kind in a namespace.
type Place = (ObjectKind, Sym);

/// What is wanted of each place.
type Wanted = HashMap<Place, HashSet<ObjectKey>>;

/// What is wanted of each place, and for which of a batch.
type Parts<T> = HashMap<Place, (HashSet<ObjectKey>, Vec<T>)>;

/// Each of `batch` with what was read of the place of its object, as soon as that is read; at once what is of no place that is
/// `wanted`. Places whose lists are there take turns.
pub(super) fn read<T: Send + 'static>(
    client: Client,
    wanted: Wanted,
    batch: Vec<T>,
    object: fn(&T) -> Option<&ObjectKey>,
) -> impl Stream<Item = (T, Arc<Ahead>)> {
    let of_place = |(place, wanted)| (place, (wanted, Vec::new()));
    let mut places: Parts<T> = wanted.into_iter().map(of_place).collect();
    let mut alone = Vec::new();
    for item in batch {
        let part = object(&item).and_then(|object| places.get_mut(&place(object)));
        part.map_or(&mut alone, |(_, items)| items).push(item);
    }
    let (read, parts) = mpsc::unbounded();
    let unlisted = (alone, Ahead::default());
    let deadline = Instant::now() + WITHIN;
    // In a task of its own, so that a list is read on while nobody has time for it.
    tokio::spawn(list_each(client, places, deadline, read));
    let parts = stream::iter([unlisted]).chain(parts).map(|(items, ahead)| {
        let ahead = Arc::new(ahead);
        stream::iter(items).map(move |item| (item, ahead.clone()))
    });
    parts.flatten_unordered(None)
}

/// Lists each place, as far as that can be done by the deadline.
async fn list_each<T>(
    client: Client,
    places: Parts<T>,
    deadline: Instant,
    read: mpsc::UnboundedSender<(Vec<T>, Ahead)>,
) {
    let places = stream::iter(places);
    let each = places.for_each_concurrent(CONCURRENCY, async |(place, (wanted, items))| {
        let listed = tokio::time::timeout_at(deadline, list(&client, place, &wanted)).await;
        let ahead = listed.ok().flatten().unwrap_or_default();
        // To nobody, where the batch was given up.
        let _ = read.unbounded_send((items, ahead));
    });
    each.await;
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
        wanted
            .entry(place(object))
            .or_default()
            .insert(object.clone());
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

fn place(object: &ObjectKey) -> Place {
    (object.kind, object.namespace.clone())
}

async fn list(
    client: &Client,
    (kind, namespace): Place,
    wanted: &HashSet<ObjectKey>,
) -> Option<Ahead> {
    let resource = switchable(kind)?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let params = ListParams::default().match_any();
    let name = || format!("each {} of {namespace}", kind.as_str());
    let listed = bounded("list", name, api.list(&params)).await;
    let listed = listed.inspect_err(|error| tracing::debug!(%error, "not read ahead"));
    let named = listed.ok()?.items.into_iter().map(|object| {
        let key = ObjectKey {
            kind,
            namespace: namespace.clone(),
            name: object.name_any().into(),
            uid: Uid::from(object.uid().unwrap_or_default()),
        };
        (key, object)
    });
    let ours = named.filter(|(key, _)| wanted.contains(key));
    Some(Ahead(
        ours.map(|(key, object)| (key, cut(object))).collect(),
    ))
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
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;

    use super::*;
    use crate::model::fixture::{World, source};

    /// An API server whose list of a namespace takes as many milliseconds as its name says, and how often it was asked; by a clock
    /// that only goes on when all wait.
    fn lists() -> (Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let namespace = request.uri().path().split('/').nth(5).unwrap();
                let takes = namespace.split('-').nth(1).unwrap().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(takes)).await;
                let item = json!({ "metadata": { "name": "app", "uid": "uid" }, "spec": {} });
                let list = json!({ "metadata": {}, "items": [item] });
                Ok::<_, Infallible>(Response::new(Body::from(list.to_string().into_bytes())))
            }
        });
        (Client::new(service, "default"), asked)
    }

    /// An object in each of these namespaces, read ahead except in `unlisted`.
    fn batch(
        client: Client,
        namespaces: &[&str],
    ) -> impl Stream<Item = (ObjectKey, Arc<Ahead>)> + use<> {
        let objects = namespaces.iter().map(|namespace| ObjectKey {
            kind: ObjectKind::ReplicationSource,
            namespace: (*namespace).into(),
            name: "app".into(),
            uid: "uid".into(),
        });
        let objects: Vec<_> = objects.collect();
        let wanted = objects.iter().filter(|it| &*it.namespace != "unlisted");
        let wanted = wanted.map(|object| (place(object), HashSet::from([object.clone()])));
        read(client, wanted.collect(), objects, |object| Some(object))
    }

    /// After how many milliseconds each object comes, and whether it was listed.
    #[rstest]
    #[case::as_soon_as_its_place_is_listed(
        &["takes-500", "takes-900", "takes-500", "unlisted"],
        &[(0, false), (500, true), (500, true), (900, true)],
        2
    )]
    #[case::in_vain(
        &["takes-60000-a", "takes-60000-b", "takes-60000-c", "unlisted"],
        &[(0, false), (2_000, false), (2_000, false), (2_000, false)],
        2
    )]
    #[case::too_slowly_all_in_all(
        &["takes-900-a", "takes-900-b", "takes-900-c", "takes-900-d", "takes-900-e", "takes-900-f"],
        &[(900, true), (900, true), (1_800, true), (1_800, true), (2_000, false), (2_000, false)],
        6
    )]
    #[tokio::test(start_paused = true)]
    async fn an_object_comes(
        #[case] namespaces: &[&str],
        #[case] expected: &[(u128, bool)],
        #[case] lists_asked_for: usize,
    ) {
        let (client, asked) = lists();
        let begun = Instant::now();
        let arrived = batch(client, namespaces).map(|(object, ahead)| {
            let listed = ahead.get(&object).is_some();
            (begun.elapsed().as_millis(), listed)
        });
        assert_eq!(arrived.collect::<Vec<_>>().await, expected);
        assert_eq!(asked.load(Ordering::Relaxed), lists_asked_for);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_listed_though_nobody_has_time_for_it() {
        let (client, _) = lists();
        let batch = batch(client, &["takes-100", "takes-1500"]);
        tokio::time::sleep(WITHIN * 2).await;
        let listed = batch.map(|(object, ahead)| ahead.get(&object).is_some());
        assert_eq!(listed.collect::<Vec<_>>().await, [true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_that_are_listed_take_turns() {
        let (client, _) = lists();
        let crowd = ["takes-1"; 100];
        let batch = batch(client, &[&crowd[..], &["takes-2"]].concat());
        tokio::time::sleep(WITHIN).await;
        let batch: Vec<_> = batch.map(|(object, _)| object.namespace).collect().await;
        let turn = batch.iter().position(|namespace| &**namespace == "takes-2");
        assert!(turn.unwrap() < 3, "{turn:?}");
    }

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
