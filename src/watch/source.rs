//! One watch: events of the API server in, changes of records and of the watch's state out.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event as KubeEvent;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::guarded::Guarded;
use super::{Changes, Patterns, convert};
use crate::api::SharedStr;
use crate::metrics::SelfMetrics;
use crate::model::{Change, Delta, Kind, Refusal, WatchState, Witness};
use crate::text::error_chain;

/// Duration of one watch request. A watch that falls silent is given up within this and 5 s; one whose start is not answered, after
/// the read timeout of the client.
const WATCH_SECONDS: u32 = 60;

/// Page size of a list that tenants can fill. An object may have 256 KiB of annotations, and a page is in memory both as
/// text and as objects: 40 MB at a time for each such kind, of the container's 256 MiB.
const PAGE: u32 = 50;

/// Page size of other lists: with pages of 50, a list takes the API server three times as long.
const LARGE_PAGE: u32 = 500;

/// Time between two checks whether a missing API is served by now.
const ABSENT_RETRY: Duration = Duration::from_secs(15);

/// Receiver of the events of a watch.
pub struct Sink<T> {
    kind: Kind,
    changes: Changes,
    own: SelfMetrics,
    wrap: fn(Delta<T>) -> Change,
}

/// The model's task has ended, so the watch ends.
struct Closed;

/// Source of the objects with which a watch begins.
#[derive(Clone, Copy, Eq, PartialEq)]
enum First {
    /// One stream with the changes (`sendInitialEvents`). The API server takes it from its cache, so the objects may be
    /// seconds old.
    Stream,
    /// A list in pages, as of now.
    Pages,
}

/// Why a watch ended without an error.
enum End {
    /// The model's task has ended.
    Closed,
    /// The connection ended before the first objects were complete, at the latest after [`WATCH_SECONDS`].
    StreamIncomplete,
}

impl<T> Sink<T> {
    /// A sink for records of `kind`.
    pub fn new(
        kind: Kind,
        changes: Changes,
        own: SelfMetrics,
        wrap: fn(Delta<T>) -> Change,
    ) -> Self {
        Self {
            kind,
            changes,
            own,
            wrap,
        }
    }

    async fn put(&self, delta: Delta<T>) -> Result<(), Closed> {
        self.changes
            .send((self.wrap)(delta))
            .await
            .map_err(|_| Closed)
    }

    async fn reading(&self, reading: WatchState) -> Result<(), Closed> {
        let change = Change::Read(self.kind, reading, Timestamp::now());
        self.changes.send(change).await.map_err(|_| Closed)
    }
}

/// Watches all objects of one kind until the model's task ends.
///
/// After an error, everything is listed again: only a complete list proves that no change was missed. Kinds with many objects
/// are streamed the first time, which takes a quarter of the time of pages. An API server without the feature gate WatchList refuses
/// that. Later lists are read in pages: they are as of now, and so never older than what is known.
pub async fn follow<K, T>(
    api: Api<Guarded<K>>,
    fields: &str,
    sink: Sink<T>,
    convert: impl Fn(&K) -> Option<T> + Send,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut backoff = DefaultBackoff::default();
    let mut first = if is_numerous(sink.kind) {
        First::Stream
    } else {
        First::Pages
    };
    loop {
        let error = match follow_once(&api, fields, &sink, &convert, &mut backoff, &mut first).await
        {
            Ok(End::Closed) => return,
            Ok(End::StreamIncomplete) => {
                tracing::debug!(
                    kind = sink.kind.as_str(),
                    "first stream ended early; reading pages"
                );
                first = First::Pages;
                continue;
            }
            Err(error) if first == First::Stream && refuses_stream(&error) => {
                tracing::debug!(kind = sink.kind.as_str(), %error, "no streams; reading pages");
                first = First::Pages;
                continue;
            }
            Err(error) => error,
        };
        let absent = is_absent(&error);
        let reading = if absent {
            WatchState::NotServed
        } else {
            failure(&error)
        };
        if !absent {
            sink.own.watch_failed(sink.kind);
            tracing::warn!(kind = sink.kind.as_str(), %error, "watch failed");
        } else if sink
            .put(Delta::Init)
            .await
            .and(sink.put(Delta::InitDone).await)
            .is_err()
        {
            return;
        }
        if sink.reading(reading).await.is_err() {
            return;
        }
        let pause = if absent {
            ABSENT_RETRY
        } else {
            backoff.next().unwrap_or(ABSENT_RETRY)
        };
        tokio::time::sleep(pause).await;
    }
}

/// The state of a watch that cannot list or watch.
fn failure(error: &watcher::Error) -> WatchState {
    let why = error_chain(error);
    match status_code(error) {
        Some(403) => WatchState::Refused(why),
        _ => WatchState::Failing(why),
    }
}

/// Watches once.
async fn follow_once<K, T>(
    api: &Api<Guarded<K>>,
    fields: &str,
    sink: &Sink<T>,
    convert: &(impl Fn(&K) -> Option<T> + Send),
    backoff: &mut DefaultBackoff,
    first: &mut First,
) -> Result<End, watcher::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api.clone(), config(sink.kind, fields, *first)).boxed();
    let mut is_listing = false;
    while let Some(event) = events.try_next().await? {
        let sent = match event {
            Event::Init if is_listing && *first == First::Stream => {
                return Ok(End::StreamIncomplete);
            }
            Event::Init => {
                is_listing = true;
                sink.put(Delta::Init).await
            }
            Event::InitApply(object) | Event::Apply(object) => {
                match object.parsed().and_then(convert) {
                    Some(record) => sink.put(Delta::Apply(record)).await,
                    None => sink.put(removal(&object)).await,
                }
            }
            Event::Delete(object) => sink.put(removal(&object)).await,
            Event::InitDone => {
                is_listing = false;
                *first = First::Pages;
                kube::runtime::utils::Backoff::reset(backoff);
                match sink.put(Delta::InitDone).await {
                    Ok(()) => sink.reading(WatchState::Synced).await,
                    closed => closed,
                }
            }
        };
        if sent.is_err() {
            break;
        }
    }
    Ok(End::Closed)
}

fn config(kind: Kind, fields: &str, first: First) -> watcher::Config {
    let page = if is_of_controllers(kind) {
        LARGE_PAGE
    } else {
        PAGE
    };
    let config = watcher::Config::default()
        .timeout(WATCH_SECONDS)
        .page_size(page);
    let config = match first {
        First::Stream => config.streaming_lists(),
        First::Pages => config,
    };
    if fields.is_empty() {
        config
    } else {
        config.fields(fields)
    }
}

/// Whether a cluster may have so many objects of this kind that their list takes long. Kinds that gates rely on, such as
/// Remediations, are always listed as of now.
fn is_numerous(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::PersistentVolumeClaims
            | Kind::PersistentVolumes
            | Kind::VolumeSnapshots
            | Kind::VolumeSnapshotContents
            | Kind::ReplicationSources
    )
}

/// Whether only controllers and administrators of the cluster write objects of this kind.
fn is_of_controllers(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::PersistentVolumes
            | Kind::VolumeSnapshotContents
            | Kind::VolumeSnapshotClasses
            | Kind::StorageClasses
            | Kind::Nodes
    )
}

fn removal<K: Resource, T>(object: &K) -> Delta<T> {
    Delta::Delete {
        namespace: SharedStr::from(object.meta().namespace.as_deref().unwrap_or_default()),
        name: SharedStr::from(object.meta().name.as_deref().unwrap_or_default()),
    }
}

/// Whether the API server refuses `sendInitialEvents`: 422, as `ValidateListOptions` of apimachinery answers.
fn refuses_stream(error: &watcher::Error) -> bool {
    status_code(error) == Some(422)
}

/// Whether the API server does not serve this kind.
fn is_absent(error: &watcher::Error) -> bool {
    status_code(error) == Some(404)
}

/// The HTTP status of the API server's answer to a list or watch.
fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// Watches `ProvisioningFailed` Events of claims: snapshots have their error in the status, claims do not.
pub async fn follow_events(
    api: Api<Guarded<KubeEvent>>,
    changes: Changes,
    own: SelfMetrics,
    patterns: Arc<Patterns>,
) {
    const FIELDS: &str = "reason=ProvisioningFailed,involvedObject.kind=PersistentVolumeClaim";
    let sink = Sink::new(
        Kind::Events,
        changes,
        own,
        |delta: Delta<convert::Failure>| match delta {
            Delta::Apply(failure) => Change::ProvisioningFailed(failure.claim, failure.error),
            Delta::Init | Delta::Delete { .. } | Delta::InitDone => Change::Nothing,
        },
    );
    let refused = sink.changes.clone();
    let convert = move |event: &KubeEvent| {
        let failure = convert::failure(event)?;
        if let Some(key) = patterns
            .of(Some(&failure.driver))
            .find(&failure.error.message)
        {
            let refusal = Refusal {
                driver: failure.driver.clone(),
                key,
                witness: Witness::Event(failure.claim.clone()),
                first: failure.first,
                at: failure.error.at,
                message: failure.error.message.clone(),
            };
            // A full queue drops one of many repetitions of an Event.
            let _ = refused.try_send(Change::Refused(refusal));
        }
        Some(failure)
    };
    follow(api, FIELDS, sink, convert).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use axum::body::Body;
    use axum::http::{Request, Response};
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use kube::Client;
    use kube::client::Body as KubeBody;
    use rstest::rstest;
    use tokio::sync::mpsc;

    use super::*;

    const REFUSED: &str = r#"{"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message":
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}"#;
    const COMPLETE: &str = r#"{"type": "BOOKMARK", "object": {"kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}}}"#;
    const LIST: &str = r#"{"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []}"#;

    /// Answers the first stream with `stream`, lists with none, and later watches never. Returns the requests until the watch
    /// is synced.
    async fn requests(code: u16, stream: &'static str) -> Vec<&'static str> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let service = tower::service_fn(move |request: Request<KubeBody>| {
            let query = request.uri().query().unwrap_or_default();
            let (name, answer) = if query.contains("sendInitialEvents=true") {
                ("stream", Some((code, stream.replace('\n', ""))))
            } else if query.contains("watch=true") {
                ("watch", None)
            } else {
                ("list", Some((200, LIST.to_owned())))
            };
            log.lock().unwrap().push(name);
            async move {
                let Some((code, text)) = answer else {
                    return std::future::pending().await;
                };
                let answer = Response::builder().status(code).body(Body::from(text));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        let api: Api<Guarded<PersistentVolumeClaim>> = Api::all(Client::new(service, "default"));
        let (changes, mut received) = mpsc::channel(16);
        let own = SelfMetrics::default();
        let kind = Kind::PersistentVolumeClaims;
        let sink = Sink::new(kind, changes, own, |_: Delta<()>| Change::Nothing);
        let watch = tokio::spawn(follow(api, "", sink, |_| None));
        loop {
            if let Change::Read(_, state, _) = received.recv().await.unwrap() {
                assert_eq!(state, WatchState::Synced);
                break;
            }
        }
        watch.abort();
        requests.lock().unwrap().clone()
    }

    #[rstest]
    #[case::complete_stream(200, COMPLETE, &["stream"])]
    #[case::refused(422, REFUSED, &["stream", "list"])]
    #[case::ended_early(200, "", &["stream", "stream", "list"])]
    #[tokio::test(start_paused = true)]
    async fn pages_are_read_where_a_stream_fails(
        #[case] code: u16,
        #[case] stream: &'static str,
        #[case] expected: &[&str],
    ) {
        let requests = requests(code, stream).await;
        assert_eq!(requests[..expected.len()], *expected, "{requests:?}");
    }
}
