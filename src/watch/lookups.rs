//! Looks up claims that a source names and the watch does not show. Only an uncached 404 proves that a claim is missing.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use super::Changes;
use crate::api::SharedStr;
use crate::api::is_object_name;
use crate::config::Config;
use crate::model::{Change, Kind, Model, WatchState};
use crate::state::Store;

/// Shortest pause between two rounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Timeout of one look-up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Number of concurrent look-ups: a hanging one delays no other, and the load on the API server stays small.
const CONCURRENCY: usize = 16;

/// Maximum number of look-ups per namespace and round. A tenant may name thousands of claims that do not exist, and each
/// look-up is a request to the API server. The remaining claims follow in the next rounds.
const MAX_OF_NAMESPACE: usize = 200;

/// The pauses between rounds of look-ups.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    first: Duration,
    /// Each pause is twice as long as the one before, up to this one.
    longest: Duration,
}

impl Pace {
    /// The same pause always, short enough for several rounds within `detect.orphanedAfter`.
    pub fn steady(config: &Config) -> Self {
        let pause = (config.detect.orphaned_after.0 / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        Self {
            first: pause,
            longest: pause,
        }
    }

    /// Short pauses at first, so that missing claims are proven at once. A command that keeps watching goes on as the daemon
    /// does.
    pub fn one_shot(config: &Config) -> Self {
        Self {
            first: SHORTEST_PAUSE,
            ..Self::steady(config)
        }
    }
}

/// Looks up suspects in rounds, until the model's task ends.
pub async fn claims(client: Client, pace: Pace, store: Store, changes: Changes) {
    let mut pause = pace.first;
    while !changes.is_closed() {
        tokio::time::sleep(pause).await;
        let suspects = store.read(round);
        let idle = suspects.is_empty();
        let mut answers = pin!(look_up(&client, suspects, pause));
        while let Some(change) = answers.next().await {
            if changes.send(change).await.is_err() {
                return;
            }
        }
        // Nothing is known before the first lists have arrived.
        if !idle {
            pause = (pause * 2).min(pace.longest);
        }
    }
}

/// Looks up each of `suspects` concurrently, and starts none after `period`: on a slow API server, those of one namespace
/// would otherwise delay the next round by minutes, and with it the other namespaces.
fn look_up(
    client: &Client,
    suspects: Vec<(SharedStr, SharedStr)>,
    period: Duration,
) -> impl Stream<Item = Change> {
    let lookups = suspects
        .into_iter()
        .map(move |(namespace, name)| async move {
            let missing = is_missing(client.clone(), &namespace, &name).await;
            Change::ClaimLookedUp {
                namespace,
                name,
                missing,
                at: Timestamp::now(),
            }
        });
    futures::stream::iter(lookups)
        .take_until(tokio::time::sleep(period))
        .buffer_unordered(CONCURRENCY)
}

/// Whether the API server answers 404. Any other answer, or a timeout, proves nothing.
async fn is_missing(client: Client, namespace: &str, name: &str) -> bool {
    // A tenant may write any text as the name.
    if !is_object_name(name) {
        return true;
    }
    let api: Api<PartialObjectMeta<PersistentVolumeClaim>> = Api::namespaced(client, namespace);
    let answer = tokio::time::timeout(TIMEOUT, api.get_opt(name)).await;
    matches!(answer, Ok(Ok(None)))
}

/// The suspects to look up next: in turn by namespace, at most [`MAX_OF_NAMESPACE`] of each, the longest not looked up
/// first.
fn round(model: &Model) -> Vec<(SharedStr, SharedStr)> {
    let mut suspects = suspects(model);
    suspects.sort_by_cached_key(|(namespace, name)| {
        model
            .absences
            .of(namespace, name)
            .map(|absence| absence.last)
    });
    let mut of_namespaces: HashMap<SharedStr, usize> = HashMap::new();
    let mut ranked: Vec<_> = suspects
        .into_iter()
        .map(|(namespace, name)| {
            let rank = of_namespaces.entry(namespace.clone()).or_default();
            *rank += 1;
            (*rank, (namespace, name))
        })
        .filter(|(rank, _)| *rank <= MAX_OF_NAMESPACE)
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, suspect)| suspect).collect()
}

/// Claims that are neither shown by the watch nor proven to be missing yet.
pub fn open(model: &Model) -> Vec<(SharedStr, SharedStr)> {
    let mut open = suspects(model);
    open.retain(|(namespace, name)| {
        let absence = model.absences.of(namespace, name);
        absence.is_none_or(|absence| !absence.counts())
    });
    open
}

/// Claims that sources name and the watch does not show.
fn suspects(model: &Model) -> Vec<(SharedStr, SharedStr)> {
    if *model.freshness.of(Kind::PersistentVolumeClaims) != WatchState::Synced {
        return Vec::new();
    }
    let named = model.sources.iter().filter_map(|source| {
        let claim = source.claim.as_ref()?;
        let unseen = model.claims.get(&source.meta.namespace, claim).is_none();
        unseen.then(|| (source.meta.namespace.clone(), claim.clone()))
    });
    let mut suspects: Vec<_> = named.collect();
    suspects.sort();
    suspects.dedup();
    suspects
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use axum::body::Body;
    use axum::http::{Request, Response};
    use kube::client::Body as KubeBody;

    use super::*;
    use crate::model::fixture::{World, at, claim, source};

    fn named(suspects: &[(SharedStr, SharedStr)]) -> Vec<&str> {
        suspects.iter().map(|(_, name)| &**name).collect()
    }

    #[test]
    fn round_alternates_between_namespaces() {
        let flood =
            (0..10_000).map(|n| source("a-tenant", &format!("s{n}")).of(&format!("c{n:05}")));
        let world = flood.fold(World::empty(), World::with);
        let world = world
            .with(source("media", "sonarr").of("gone"))
            .with(source("media", "radarr"))
            .with(claim("media", "radarr"));
        let round = round(&world.0);
        assert_eq!(round.len(), MAX_OF_NAMESPACE + 1);
        assert!(named(&round)[..2].contains(&"gone"), "{:?}", &round[..2]);
    }

    #[test]
    fn round_starts_with_the_longest_not_looked_up() {
        let world = ["a", "b", "c"]
            .into_iter()
            .fold(World::empty(), |world, name| {
                world.with(source("media", name))
            })
            .not_found("media", "a", &[at(-2)])
            .not_found("media", "c", &[at(-3)]);
        assert_eq!(named(&round(&world.0)), ["b", "c", "a"]);
    }

    /// An API server without any claim. It never answers for names with `hang`, and takes a second for `slow-…`; with the
    /// requested paths.
    fn without_claims() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let service = tower::service_fn(move |request: Request<KubeBody>| {
            let path = request.uri().to_string();
            log.lock().unwrap().push(path.clone());
            async move {
                if path.ends_with("/hang") {
                    std::future::pending::<()>().await;
                }
                if path.contains("/slow-") {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let status =
                    r#"{"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}"#;
                let answer = Response::builder().status(404).body(Body::from(status));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        (Client::new(service, "default"), asked)
    }

    /// Attack: `spec.sourcePVC: "?watch=true&n=1"`, which kube puts into the path unescaped. Defence: an invalid name is
    /// never requested.
    #[tokio::test]
    async fn invalid_name_is_missing_without_a_request() {
        let (client, asked) = without_claims();
        assert!(is_missing(client.clone(), "media", "?watch=true&n=1").await);
        assert!(is_missing(client.clone(), "media", "../secrets").await);
        assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
        assert!(is_missing(client, "media", "gone").await);
        let path = "/api/v1/namespaces/media/persistentvolumeclaims/gone";
        assert_eq!(*asked.lock().unwrap(), [path]);
    }

    /// Attack: thousands of sources with claims that do not exist, to delay the look-ups of other namespaces. Defence: a
    /// round has a time limit, and takes the longest not looked up of every namespace first.
    #[tokio::test(start_paused = true)]
    async fn round_ends_in_time_on_a_slow_api_server() {
        let (client, _) = without_claims();
        let names = (0..MAX_OF_NAMESPACE)
            .map(|n| (SharedStr::from("a"), SharedStr::from(format!("slow-{n}"))));
        let begun = tokio::time::Instant::now();
        let period = Duration::from_secs(2);
        let looked_up = look_up(&client, names.collect(), period).count().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!(looked_up, 2 * CONCURRENCY);
    }

    /// The model of the store never changes, so that the claim stays a suspect, as one that was proven to be missing does.
    #[tokio::test(start_paused = true)]
    async fn one_shot_lookups_slow_down_to_the_pace_of_the_daemon() {
        let (client, asked) = without_claims();
        let world = World::empty()
            .with(source("media", "sonarr").of("gone"))
            .reading(Kind::PersistentVolumeClaims, WatchState::Synced);
        let (store, _publish) = Store::of(world.0);
        let (changes, mut received) = tokio::sync::mpsc::channel(16);
        let pace = Pace::one_shot(&Config::default());
        let looking = tokio::spawn(claims(client, pace, store, changes));
        let begun = tokio::time::Instant::now();
        for _ in 0..2 {
            received.recv().await.unwrap();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        while begun.elapsed() < Duration::from_secs(600) {
            received.recv().await.unwrap();
        }
        looking.abort();
        let count = asked.lock().unwrap().len();
        // 8 until the pause is 30 s long, and one every 30 s after that.
        assert!((20..=30).contains(&count), "{count}");
    }

    #[tokio::test]
    async fn hanging_lookup_delays_no_other() {
        let (client, _) = without_claims();
        let names =
            ["hang", "a", "b", "c"].map(|name| (SharedStr::from("media"), SharedStr::from(name)));
        let answers = look_up(&client, names.to_vec(), LONGEST_PAUSE).take(3);
        assert_eq!(answers.count().await, 3);
    }
}
