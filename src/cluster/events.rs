//! Kubernetes Events, as `kubectl describe` shows them. No write waits for an Event: a separate task writes them, and drops
//! and counts those that exceed its queue.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::posting;
use super::write_budget::{EVENTS, WriteBudget};
use super::{FIELD_MANAGER, bounded};
use crate::api::remediation::Remediation;
use crate::api::{ObjectKey, ObjectKind};
use crate::metrics::SelfMetrics;

/// Longest message, in bytes; the API server accepts 1024.
const MAX_MESSAGE: usize = 1000;

/// Maximum number of waiting Events: those of a run with the maximum number of deletions.
const QUEUE: usize = 1024;

/// Maximum number of waiting Events about runs: a hundred complete runs.
const QUEUE_OF_RUNS: usize = 1024;

/// The object of an Event.
pub trait Regarding {
    /// Kind of the object.
    fn kind(&self) -> ObjectKind;

    /// The reference by which `kubectl describe` finds the Event.
    fn reference(&self) -> ObjectReference;
}

impl Regarding for Remediation {
    fn kind(&self) -> ObjectKind {
        ObjectKind::Remediation
    }

    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

impl Regarding for ObjectKey {
    fn kind(&self) -> ObjectKind {
        self.kind
    }

    fn reference(&self) -> ObjectReference {
        let api_version = match self.kind {
            ObjectKind::PersistentVolumeClaim | ObjectKind::PersistentVolume | ObjectKind::Pod => {
                "v1"
            }
            ObjectKind::VolumeSnapshot
            | ObjectKind::VolumeSnapshotContent
            | ObjectKind::VolumeSnapshotClass => "snapshot.storage.k8s.io/v1",
            ObjectKind::ReplicationSource => "volsync.backube/v1alpha1",
            ObjectKind::Deployment | ObjectKind::StatefulSet | ObjectKind::DaemonSet => "apps/v1",
            ObjectKind::Lease => "coordination.k8s.io/v1",
            ObjectKind::Remediation | ObjectKind::SnapshotHold => "locksmith.dev/v1alpha1",
        };
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(self.kind.as_str().to_owned()),
            namespace: Some(self.namespace.to_string()),
            name: Some(self.name.to_string()),
            uid: Some(self.uid.to_string()),
            ..ObjectReference::default()
        }
    }
}

/// Type of an Event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventType {
    /// For information.
    Normal,
    /// Needs a person's attention.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }

    /// [`Self::Warning`] for a failure.
    pub fn warning_if(failed: bool) -> Self {
        if failed { Self::Warning } else { Self::Normal }
    }
}

/// Queues Events, and writes them when there is time. Clones share the queues.
#[derive(Clone)]
pub struct EventRecorder {
    /// Events about runs are few and important, so they have a queue of their own.
    of_runs: mpsc::Sender<Waiting>,
    of_objects: mpsc::Sender<Waiting>,
    own: SelfMetrics,
}

/// A waiting Event, and the kind by which it is counted.
type Waiting = (ObjectKind, Event);

impl EventRecorder {
    /// A recorder, and the task that writes by `client`, one Event at a time with pauses, until the last clone is dropped
    /// and the queues are empty.
    pub fn new(client: Client, own: SelfMetrics) -> (Self, impl Future<Output = ()>) {
        let (of_runs, runs) = mpsc::channel(QUEUE_OF_RUNS);
        let (of_objects, objects) = mpsc::channel(QUEUE);
        let delivery = deliver(client, own.clone(), runs, objects);
        let recorder = Self {
            of_runs,
            of_objects,
            own,
        };
        (recorder, delivery)
    }

    /// Queues an Event about `object`. `reason` is one CamelCase word.
    pub fn publish(&self, object: &impl Regarding, type_: EventType, reason: &str, message: &str) {
        let kind = object.kind();
        let event = event(object.reference(), type_, reason, message);
        let queue = match kind {
            ObjectKind::Remediation => &self.of_runs,
            _ => &self.of_objects,
        };
        if queue.try_send((kind, event)).is_err() {
            self.own.write(VERB, kind.as_str(), "dropped");
        }
    }
}

async fn deliver(
    client: Client,
    own: SelfMetrics,
    mut runs: mpsc::Receiver<Waiting>,
    mut objects: mpsc::Receiver<Waiting>,
) {
    let mut budget = WriteBudget::new(EVENTS);
    let mut ends = false;
    loop {
        let patient = !ends;
        let of_object = async {
            if patient {
                tokio::time::sleep(budget.left(Instant::now().into_std())).await;
            }
            objects.recv().await
        };
        let next = tokio::select! {
            biased;
            of_run = runs.recv(), if patient => {
                // At shutdown there are no pauses.
                ends = of_run.is_none();
                if ends {
                    continue;
                }
                of_run
            }
            of_object = of_object => of_object,
        };
        let Some((kind, event)) = next else { return };
        let begun = Instant::now();
        own.write(VERB, kind.as_str(), write(&client, &event).await);
        budget.spend(begun.elapsed(), None, Instant::now().into_std());
    }
}

/// Verb of an Event in the metrics.
const VERB: &str = "event";

fn event(regarding: ObjectReference, type_: EventType, reason: &str, message: &str) -> Event {
    let now = Time(Timestamp::now());
    let end = message
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= MAX_MESSAGE);
    Event {
        metadata: ObjectMeta {
            generate_name: regarding.name.as_deref().map(generate_name),
            namespace: Some(namespace_of(&regarding)),
            ..ObjectMeta::default()
        },
        involved_object: regarding,
        reason: Some(reason.to_owned()),
        message: Some(message[..end.unwrap_or(message.len())].to_owned()),
        type_: Some(type_.as_str().to_owned()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource {
            component: Some(FIELD_MANAGER.to_owned()),
            host: None,
        }),
        ..Event::default()
    }
}

/// Namespace of an Event: that of its object, or `default` if the object has none, as the API server requires.
fn namespace_of(regarding: &ObjectReference) -> String {
    let namespace = regarding.namespace.as_deref().unwrap_or_default();
    let namespace = if namespace.is_empty() {
        "default"
    } else {
        namespace
    };
    namespace.to_owned()
}

/// Prefix for the name of an Event. The API server refuses a prefix that is longer than a name may be, and uses the first
/// 58 characters of a long one (`apiserver/pkg/storage/names`).
fn generate_name(object: &str) -> String {
    let prefix: String = object.chars().take(57).collect();
    format!("{}.", prefix.trim_end_matches(['.', '-']))
}

/// Writes an Event once; returns the outcome.
async fn write(client: &Client, event: &Event) -> &'static str {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = posting(FIELD_MANAGER);
    let name = || {
        format!(
            "an Event on {}",
            event.metadata.generate_name.as_deref().unwrap_or_default()
        )
    };
    match bounded("write", name, api.create(&params, event)).await {
        Ok(_) => "ok",
        Err(error) => {
            tracing::debug!(%error, "Event not written");
            error.kind().as_str()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::model::fixture::{run, source};

    /// A recorder, and the object and arrival time of each of its Events, on a clock that advances only while all tasks
    /// wait.
    fn recorder() -> (EventRecorder, mpsc::UnboundedReceiver<(String, Duration)>) {
        let (written, arrivals) = mpsc::unbounded_channel();
        let begun = Instant::now();
        let service = tower::service_fn(move |request: Request<Body>| {
            let written = written.clone();
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                let event: Event = serde_json::from_slice(&body).unwrap();
                let kind = event.involved_object.kind.unwrap();
                let _ = written.send((kind, begun.elapsed()));
                Ok::<_, Infallible>(Response::new(Body::from(body)))
            }
        });
        let client = Client::new(service, "default");
        let (recorder, delivery) = EventRecorder::new(client, SelfMetrics::default());
        tokio::spawn(delivery);
        (recorder, arrivals)
    }

    fn publish_of_an_object(recorder: &EventRecorder) {
        let object = source("media", "sonarr")
            .meta
            .key(ObjectKind::ReplicationSource);
        recorder.publish(&object, EventType::Normal, "LocksmithHeld", "hold");
    }

    /// The API server refused Events about contents, which have no namespace.
    #[test]
    fn event_of_a_cluster_scoped_object_is_in_default() {
        let mut content = source("", "snapcontent-1")
            .meta
            .key(ObjectKind::VolumeSnapshotContent);
        let namespace = |object: &ObjectKey| {
            event(object.reference(), EventType::Normal, "R", "m")
                .metadata
                .namespace
        };
        assert_eq!(namespace(&content).as_deref(), Some("default"));
        content.namespace = "media".into();
        assert_eq!(namespace(&content).as_deref(), Some("media"));
    }

    /// The API server refused Events about objects with names of 253 characters.
    #[test]
    fn event_name_begins_with_the_object_name() {
        assert_eq!(generate_name("sonarr"), "sonarr.");
        assert_eq!(
            generate_name(&"s".repeat(253)),
            format!("{}.", "s".repeat(57))
        );
        let dashed = format!("{}-.b", "s".repeat(55));
        assert_eq!(generate_name(&dashed), format!("{}.", "s".repeat(55)));
    }

    #[tokio::test(start_paused = true)]
    async fn run_events_overtake_object_events() {
        let (recorder, mut arrivals) = recorder();
        publish_of_an_object(&recorder);
        publish_of_an_object(&recorder);
        recorder.publish(
            &run("run"),
            EventType::Normal,
            "StepSucceeded",
            "suspendSources",
        );
        let (first, _) = arrivals.recv().await.unwrap();
        assert_eq!(first, "Remediation");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_events_are_written_at_shutdown() {
        let (recorder, mut arrivals) = recorder();
        publish_of_an_object(&recorder);
        publish_of_an_object(&recorder);
        drop(recorder);
        for _ in 0..2 {
            let (kind, _) = arrivals.recv().await.unwrap();
            assert_eq!(kind, "ReplicationSource");
        }
        assert_eq!(arrivals.recv().await, None);
    }
}
