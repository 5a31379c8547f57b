//! Keeps an object as it was, with what belongs to it, before it is deleted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{WriteError, Writer, bounded};
use crate::api::remediation::EvidenceRecord;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use crate::api::volsync::ReplicationSource;
use crate::model::{ObjectKey, ObjectKind};

/// Events kept of each object, the latest ones.
const EVENTS: usize = 10;

impl Writer {
    /// The object, what belongs to it and its events, or `None` when it is gone: then nothing is deleted either.
    pub async fn gather(&self, object: &ObjectKey) -> Result<Option<EvidenceRecord>, WriteError> {
        if object.kind == ObjectKind::ReplicationSource {
            let source: Option<ReplicationSource> = self.read(object).await?;
            let Some(source) = source else {
                return Ok(None);
            };
            let version = source.resource_version();
            return self
                .keep(object, version, plain(json!(source)), None)
                .await
                .map(Some);
        }
        let snapshot: Option<VolumeSnapshot> = self.read(object).await?;
        let Some(snapshot) = snapshot else {
            return Ok(None);
        };
        let bound = snapshot
            .status
            .as_ref()
            .and_then(|s| s.bound_volume_snapshot_content_name.clone());
        let content = match &bound {
            None => None,
            Some(name) => {
                let contents: Api<VolumeSnapshotContent> = Api::all(self.client().clone());
                let named = || format!("VolumeSnapshotContent {name}");
                bounded("get", named, contents.get_opt(name)).await?
            }
        };
        let content = content.map(|content| plain(json!(content)));
        let version = snapshot.resource_version();
        self.keep(object, version, plain(json!(snapshot)), content)
            .await
            .map(Some)
    }

    /// The object as it is now, if it is still the same one.
    async fn read<K>(&self, object: &ObjectKey) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client().clone(), &object.namespace);
        let found = bounded("get", || object.to_string(), api.get_opt(&object.name)).await?;
        Ok(found.filter(|found| {
            found
                .meta()
                .uid
                .as_deref()
                .is_some_and(|uid| object.uid == *uid)
        }))
    }

    async fn keep(
        &self,
        object: &ObjectKey,
        resource_version: Option<String>,
        itself: Value,
        content: Option<Value>,
    ) -> Result<EvidenceRecord, WriteError> {
        let events: Api<Event> = Api::namespaced(self.client().clone(), &object.namespace);
        let about = ListParams::default().fields(&format!("involvedObject.uid={}", object.uid));
        let events = bounded(
            "list",
            || format!("Events of {object}"),
            events.list(&about),
        )
        .await?;
        let kept = json!({
            "keptAt": Timestamp::now(),
            "object": itself,
            "content": content,
            "events": latest(events.items),
        });
        Ok(EvidenceRecord {
            object: object.clone(),
            resource_version: resource_version.unwrap_or_default(),
            kept: kept.to_string(),
        })
    }
}

/// Without `managedFields`, which is long and tells nothing here.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

fn latest(mut events: Vec<Event>) -> Vec<Value> {
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let skip = events.len().saturating_sub(EVENTS);
    events
        .drain(skip..)
        .map(|event| json!({ "reason": event.reason, "message": event.message, "count": event.count }))
        .collect()
}
