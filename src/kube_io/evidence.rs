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

/// Events read of each object: anybody may have written any number.
const EVENTS_READ: u32 = 500;

/// Longest metadata kept whole, in bytes. All evidence of a run is in one object, which the API server limits, and an
/// owner may write as much into each of theirs.
const MAX_METADATA: usize = 4 * 1024;

/// Longest record kept with what belongs to the object, in bytes.
const MAX_KEPT: usize = 16 * 1024;

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
        let about = ListParams::default()
            .fields(&format!("involvedObject.uid={}", object.uid))
            .limit(EVENTS_READ);
        let events = bounded(
            "list",
            || format!("Events of {object}"),
            events.list(&about),
        )
        .await?;
        Ok(EvidenceRecord {
            object: object.clone(),
            resource_version: resource_version.unwrap_or_default(),
            kept: fitted(&itself, content.as_ref(), &latest(events.items)),
        })
    }
}

/// The record, in at most [`MAX_KEPT`] bytes: the identity always, then what the object says, then the rest.
fn fitted(object: &Value, content: Option<&Value>, events: &[Value]) -> String {
    let identity = json!({ "metadata": identity(object) });
    let record = |object: &Value, content: Option<&Value>, events: &[Value]| {
        json!({
            "keptAt": Timestamp::now(),
            "object": object,
            "content": content,
            "events": events,
        })
        .to_string()
    };
    let fits = |record: &String| record.len() <= MAX_KEPT;
    [
        record(object, content, events),
        record(object, content, &[]),
        record(object, None, &[]),
    ]
    .into_iter()
    .find(fits)
    .unwrap_or_else(|| record(&identity, None, &[]))
}

/// What names an object, and when it was made and asked to go.
fn identity(object: &Value) -> Value {
    const FIELDS: [&str; 6] = [
        "namespace",
        "name",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
    ];
    let fields = FIELDS.iter().filter_map(|field| {
        let value = object.pointer(&format!("/metadata/{field}"))?;
        Some(((*field).to_owned(), value.clone()))
    });
    Value::Object(fields.collect())
}

/// Without `managedFields`, which is long and tells nothing here; and, where its owner wrote more than anybody reads, with
/// no metadata but what names it.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if object["metadata"].to_string().len() > MAX_METADATA {
        object["metadata"] = identity(&object);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack: a failed snapshot of one's own with as many annotations as the API server takes, so that the status of the
    /// run that is to delete it cannot be written. Defence: evidence has a size.
    #[test]
    fn evidence_is_no_larger_than_it_may_be_and_always_names_the_object() {
        let named = |annotations: Value, spec: Value| {
            json!({
                "metadata": {"name": "s", "namespace": "tenant", "uid": "u", "annotations": annotations},
                "spec": spec,
            })
        };
        let long = "x".repeat(250_000);
        for object in [
            named(json!({"a": "b"}), json!({"source": {}})),
            named(json!({"a": long}), json!({"source": {}})),
            named(json!({}), json!({"source": long})),
        ] {
            let events = vec![json!({"message": "y".repeat(5000)}); EVENTS];
            let kept = fitted(&plain(object.clone()), Some(&plain(object)), &events);
            assert!(kept.len() <= MAX_KEPT, "{}", kept.len());
            let kept: Value = serde_json::from_str(&kept).unwrap();
            assert_eq!(kept["object"]["metadata"]["uid"], "u");
        }
    }

    #[test]
    fn an_object_as_it_should_be_is_kept_whole() {
        let object = json!({
            "metadata": {"name": "s", "uid": "u", "labels": {"a": "b"}, "managedFields": [1]},
            "spec": {"source": {"persistentVolumeClaimName": "c"}},
        });
        let kept = fitted(&plain(object), None, &[json!({"message": "m"})]);
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["object"]["metadata"], json!({"name": "s", "uid": "u", "labels": {"a": "b"}}));
        assert_eq!(kept["object"]["spec"]["source"]["persistentVolumeClaimName"], "c");
        assert_eq!(kept["events"][0]["message"], "m");
    }
}
