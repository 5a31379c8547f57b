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

use super::{Changes, Patterns, convert};
use crate::api::SharedStr;
use crate::metrics::SelfMetrics;
use crate::model::{Change, Delta, Kind, Refusal, WatchState, Witness};
use crate::text::error_chain;

/// Duration of one watch request. A dead connection is noticed within this and 5 s.
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

/// Source of the first objects.
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
    /// The stream of the first objects did not end within [`WATCH_SECONDS`].
    StreamTooLong,
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
/// are streamed, which takes a quarter of the time of pages. An API server without the feature gate WatchList refuses that.
pub async fn follow<K, T>(
    api: Api<K>,
    fields: &str,
    sink: Sink<T>,
    convert: impl Fn(&K) -> Option<T> + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut backoff = DefaultBackoff::default();
    let mut first = if is_numerous(sink.kind) {
        First::Stream
    } else {
        First::Pages
    };
    loop {
        let error = match follow_once(&api, fields, &sink, &convert, &mut backoff, first).await {
            Ok(End::Closed) => return,
            Ok(End::StreamTooLong) => {
                first = First::Pages;
                continue;
            }
            Err(error) if first == First::Stream && refuses_stream(&error) => {
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
    api: &Api<K>,
    fields: &str,
    sink: &Sink<T>,
    convert: &(impl Fn(&K) -> Option<T> + Send),
    backoff: &mut DefaultBackoff,
    first: First,
) -> Result<End, watcher::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher(api.clone(), config(sink.kind, fields, first)).boxed();
    let mut is_listing = false;
    while let Some(event) = events.try_next().await? {
        let sent = match event {
            Event::Init if is_listing && first == First::Stream => return Ok(End::StreamTooLong),
            Event::Init => {
                is_listing = true;
                sink.put(Delta::Init).await
            }
            Event::InitApply(object) | Event::Apply(object) => match convert(&object) {
                Some(record) => sink.put(Delta::Apply(record)).await,
                None => sink.put(removal(&object)).await,
            },
            Event::Delete(object) => sink.put(removal(&object)).await,
            Event::InitDone => {
                is_listing = false;
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
    api: Api<KubeEvent>,
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
