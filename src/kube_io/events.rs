//! Kubernetes Events, for whoever looks at an object with `kubectl describe`. Losing one loses nothing.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};

use super::{FIELD_MANAGER, bounded};
use crate::api::remediation::Remediation;
use crate::model::{ObjectKey, ObjectKind};

/// Longest message the API server takes is 1024 bytes.
const MAX_MESSAGE: usize = 1000;

/// What an Event is about.
pub trait Regarding {
    /// The reference that `kubectl describe` finds it by.
    fn reference(&self) -> ObjectReference;
}

impl Regarding for Remediation {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

impl Regarding for ObjectKey {
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

/// Writes an Event on `object`. `reason` is one CamelCase word; a warning is something a person should look at.
pub async fn say(
    client: &Client,
    object: &impl Regarding,
    reason: &str,
    message: &str,
    warning: bool,
) {
    let regarding = object.reference();
    let namespace = regarding.namespace.clone().unwrap_or_default();
    let now = Time(Timestamp::now());
    let end = message
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= MAX_MESSAGE);
    let event = Event {
        metadata: ObjectMeta {
            generate_name: regarding.name.as_ref().map(|name| format!("{name}.")),
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
    };
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let name = || {
        format!(
            "an Event on {}",
            event.metadata.generate_name.clone().unwrap_or_default()
        )
    };
    if let Err(error) = bounded("write", name, api.create(&params, &event)).await {
        tracing::debug!(%error, "Event not written");
    }
}
