//! Actions of a person in one namespace, through the API, and the conditions to wait for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim};
use kube::api::{DynamicObject, Patch};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use locksmith::api::snapshot::BEING_CREATED;
use locksmith::demo::scenario::until;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::objects::{create, within};
use crate::stack::SNAPSHOT_CLASS;

/// `apiVersion` and kind.
pub type Kind = (&'static str, &'static str);
pub const CLAIM: Kind = ("v1", "PersistentVolumeClaim");
pub const SNAPSHOT: Kind = ("snapshot.storage.k8s.io/v1", "VolumeSnapshot");
pub const CONTENT: Kind = ("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent");
pub const SOURCE: Kind = ("volsync.backube/v1alpha1", "ReplicationSource");

pub struct Person {
    pub client: Client,
    pub namespace: String,
}

impl Person {
    /// Creates the namespace.
    pub async fn new(client: Client, namespace: &str) -> Self {
        create(
            &client,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// Creates an object of any kind.
    pub async fn create(&self, object: Value) {
        create(&self.client, object).await;
    }

    pub async fn claim(&self, claim: &PersistentVolumeClaim) {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &self.namespace);
        claims.create(&Default::default(), claim).await.unwrap();
    }

    /// Creates a snapshot of the claim `data`.
    pub async fn snapshot(&self, name: &str) {
        self.snapshot_of_class(name, SNAPSHOT_CLASS).await;
    }

    /// Creates a snapshot of the claim `data` with this class.
    pub async fn snapshot_of_class(&self, name: &str, class: &str) {
        self.create(json!({
            "apiVersion": SNAPSHOT.0,
            "kind": SNAPSHOT.1,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "volumeSnapshotClassName": class,
                "source": {"persistentVolumeClaimName": "data"},
            },
        }))
        .await;
    }

    /// Waits for the Event of a refusal; the status of a claim does not show it.
    pub async fn claim_refused(&self, name: &str) {
        let uid = self.uid(CLAIM, name).await;
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let refused = |events: &[Arc<Event>]| {
            events.iter().any(|event| {
                let message = event.message.as_deref().unwrap_or_default();
                event.involved_object.uid.as_ref() == Some(&uid)
                    && message.contains("already exists")
            })
        };
        until(events, "a refusal", PATIENCE, refused).await.unwrap();
    }

    pub async fn uid(&self, kind: Kind, name: &str) -> String {
        self.api(kind).get(name).await.unwrap().uid().unwrap()
    }

    pub async fn content_of(&self, snapshot: &str) -> String {
        format!("snapcontent-{}", self.uid(SNAPSHOT, snapshot).await)
    }

    pub async fn delete(&self, kind: Kind, name: &str) {
        self.api(kind)
            .delete(name, &Default::default())
            .await
            .unwrap();
    }

    /// Annotates an object, unless it is deleted.
    pub async fn touch(&self, kind: Kind, name: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"script": "touched"}}}));
        match self
            .api(kind)
            .patch(name, &Default::default(), &patch)
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other.unwrap()),
        }
    }

    pub fn api(&self, (api_version, kind): Kind) -> Api<DynamicObject> {
        let namespace = (kind != CONTENT.1).then_some(&*self.namespace);
        within(&self.client, api_version, kind, namespace)
    }

    /// Waits until `wanted` accepts the object, or its absence.
    pub async fn until(&self, kind: Kind, name: &str, wanted: fn(Option<&DynamicObject>) -> bool) {
        let reached = await_condition(self.api(kind), name, wanted);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let Ok(reached) = reached else {
            let found = self.api(kind).get_opt(name).await;
            panic!("waited in vain for {} {name}: {found:#?}", kind.1);
        };
        reached.unwrap();
    }
}

fn status(object: Option<&DynamicObject>) -> Option<&Value> {
    object.map(|object| &object.data["status"])
}

pub fn bound(claim: Option<&DynamicObject>) -> bool {
    status(claim).is_some_and(|status| status["phase"] == "Bound")
}

pub fn ready(snapshot: Option<&DynamicObject>) -> bool {
    status(snapshot).is_some_and(|status| status["readyToUse"] == true)
}

pub fn refused(snapshot: Option<&DynamicObject>) -> bool {
    let message = status(snapshot).and_then(|status| status["error"]["message"].as_str());
    message.is_some_and(|message| message.contains("already exists"))
}

/// Whether the creation has succeeded, or the content is already deleted.
pub fn created(content: Option<&DynamicObject>) -> bool {
    content.is_none_or(|content| !content.annotations().contains_key(BEING_CREATED))
}

pub fn being_deleted(object: Option<&DynamicObject>) -> bool {
    object.is_none_or(|object| object.metadata.deletion_timestamp.is_some())
}

/// Whether only its content blocks the deletion of the snapshot.
pub fn released(snapshot: Option<&DynamicObject>) -> bool {
    const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
    snapshot.is_some_and(|snapshot| snapshot.finalizers() == [BOUND])
}

pub fn gone(object: Option<&DynamicObject>) -> bool {
    object.is_none()
}

/// Whether no snapshot blocks the deletion of the claim.
pub fn unprotected(claim: Option<&DynamicObject>) -> bool {
    claim.is_some_and(|claim| claim.finalizers() == ["kubernetes.io/pvc-protection"])
}

fn condition(source: Option<&DynamicObject>, reason: &str) -> bool {
    let conditions = status(source).and_then(|status| status["conditions"].as_array());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["reason"] == reason)
}

pub fn waits_for_schedule(source: Option<&DynamicObject>) -> bool {
    condition(source, "WaitingForSchedule")
}

/// Whether the source's condition reports that the API server refused a snapshot.
pub fn held(source: Option<&DynamicObject>) -> bool {
    let conditions = status(source).and_then(|status| status["conditions"].as_array());
    let messages = conditions.into_iter().flatten();
    let mut messages = messages.filter_map(|one| one["message"].as_str());
    messages.any(|message| message.contains("held by volsync-locksmith"))
}

pub fn failing(source: Option<&DynamicObject>) -> bool {
    condition(source, "Error")
}
