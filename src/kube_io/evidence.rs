//! Keeps an object as it was, with what belongs to it, before it is deleted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{WriteError, Writer, bounded};
use crate::api::remediation::EvidenceRecord;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use crate::model::ObjectKey;

/// Events kept of each object, the latest ones.
const EVENTS: usize = 10;

impl Writer {
    /// A VolumeSnapshot with its content and events, or `None` when it is gone: then nothing is deleted either.
    pub async fn gather(&self, object: &ObjectKey) -> Result<Option<EvidenceRecord>, WriteError> {
        let snapshots: Api<VolumeSnapshot> =
            Api::namespaced(self.client().clone(), &object.namespace);
        let found = bounded(
            "get",
            || object.to_string(),
            snapshots.get_opt(&object.name),
        )
        .await?;
        let Some(snapshot) =
            found.filter(|found| found.uid().as_deref() == Some(object.uid.as_str()))
        else {
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
                bounded(
                    "get",
                    || format!("VolumeSnapshotContent {name}"),
                    contents.get_opt(name),
                )
                .await?
            }
        };
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
            "snapshot": plain(json!(snapshot)),
            "content": content.map(|content| plain(json!(content))),
            "events": latest(events.items),
        });
        Ok(Some(EvidenceRecord {
            object: object.clone(),
            resource_version: snapshot.resource_version().unwrap_or_default(),
            kept: kept.to_string(),
        }))
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
