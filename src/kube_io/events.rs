//! Kubernetes Events, for whoever looks at an object with `kubectl describe`. Losing one loses nothing, so that no write
//! waits for one: they are handed to a task of their own, and what does not fit its queue is dropped and counted.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use super::{FIELD_MANAGER, bounded};
use crate::api::remediation::Remediation;
use crate::metrics::Own;
use crate::model::{ObjectKey, ObjectKind};

/// Longest message the API server takes is 1024 bytes.
const MAX_MESSAGE: usize = 1000;

/// How many Events may wait: those of a run that holds and releases 2,000 sources and their claims, in some 8 MB.
const QUEUE: usize = 8192;

/// So many times as long as an Event took, no other is written: the writes that matter go the same way, and are the more in a
/// hurry the longer the API server takes.
const REST: u32 = 4;

/// Longest rest.
const LONGEST: Duration = Duration::from_millis(250);

/// What an Event is about.
pub trait Regarding {
    /// Kind of the object.
    fn kind(&self) -> ObjectKind;

    /// The reference that `kubectl describe` finds it by.
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
            ObjectKind::VolumeSnapshot | ObjectKind::VolumeSnapshotContent => {
                "snapshot.storage.k8s.io/v1"
            }
            ObjectKind::ReplicationSource => "volsync.backube/v1alpha1",
            ObjectKind::Deployment => "apps/v1",
            ObjectKind::Remediation => "locksmith.dev/v1alpha1",
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

/// Takes Events, and has them written when there is time. Clones share one queue.
#[derive(Clone)]
pub struct Herald {
    queue: mpsc::Sender<(ObjectKind, Event)>,
    own: Own,
}

impl Herald {
    /// A herald, and what writes by `client`, one at a time and with rests, until the last clone is dropped and nothing waits any
    /// more.
    pub fn new(client: Client, own: Own) -> (Self, impl Future<Output = ()>) {
        let (queue, mut waiting) = mpsc::channel::<(ObjectKind, Event)>(QUEUE);
        let counts = own.clone();
        let delivery = async move {
            while let Some((kind, event)) = waiting.recv().await {
                let begun = Instant::now();
                counts.write(VERB, kind.as_str(), write(&client, &event).await);
                // Who ends is in a hurry, too; and what is told of a run is little, and tells most.
                if kind != ObjectKind::Remediation && !waiting.is_closed() {
                    tokio::time::sleep((begun.elapsed() * REST).min(LONGEST)).await;
                }
            }
        };
        (Self { queue, own }, delivery)
    }

    /// Has an Event on `object` written. `reason` is one CamelCase word; a warning is something a person should look at.
    pub fn say(&self, object: &impl Regarding, reason: &str, message: &str, warning: bool) {
        let kind = object.kind();
        let event = event(object.reference(), reason, message, warning);
        if self.queue.try_send((kind, event)).is_err() {
            self.own.write(VERB, kind.as_str(), "dropped");
        }
    }
}

/// What writing an Event is counted as.
const VERB: &str = "event";

fn event(regarding: ObjectReference, reason: &str, message: &str, warning: bool) -> Event {
    let now = Time(Timestamp::now());
    let end = message
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= MAX_MESSAGE);
    Event {
        metadata: ObjectMeta {
            generate_name: regarding.name.as_ref().map(|name| format!("{name}.")),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: regarding,
        reason: Some(reason.to_owned()),
        message: Some(message[..end.unwrap_or(message.len())].to_owned()),
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
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

/// Writes it once; says what became of it.
async fn write(client: &Client, event: &Event) -> &'static str {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
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
            error.kind()
        }
    }
}
