//! Keeps an object as it was, with what belongs to it, before it is deleted.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{WriteError, Writer, bounded};
use crate::api::is_object_name;
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
    ///
    /// Where they take more than `room` bytes, the oldest events are left out, and then what says the same again.
    pub async fn gather(
        &self,
        object: &ObjectKey,
        room: usize,
    ) -> Result<Option<EvidenceRecord>, WriteError> {
        if object.kind == ObjectKind::ReplicationSource {
            let source: Option<ReplicationSource> = self.read(object).await?;
            let Some(source) = source else {
                return Ok(None);
            };
            let version = source.resource_version();
            return self
                .keep(object, version, plain(json!(source)), None, room)
                .await
                .map(Some);
        }
        if object.kind == ObjectKind::Lease {
            let lease: Option<Lease> = self.read(object).await?;
            let Some(lease) = lease else {
                return Ok(None);
            };
            let version = lease.resource_version();
            return self
                .keep(object, version, plain(json!(lease)), None, room)
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
            .and_then(|s| s.bound_volume_snapshot_content_name.clone())
            .filter(|name| is_object_name(name));
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
        self.keep(object, version, plain(json!(snapshot)), content, room)
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
        room: usize,
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
        let kept = fit(
            &itself,
            content.as_ref(),
            latest(events.items),
            room.min(MAX_KEPT),
        );
        Ok(EvidenceRecord {
            object: object.clone(),
            resource_version: resource_version.unwrap_or_default(),
            kept,
        })
    }
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

/// As much as fits into `room` bytes of a status: the oldest events go first, then what the object says as well; what
/// names the object and finds its snapshot in the storage system is kept in any case.
fn fit(itself: &Value, content: Option<&Value>, mut events: Vec<Value>, room: usize) -> String {
    let at = Timestamp::now();
    let record = |object: &Value, content: Option<&Value>, events: &[Value]| {
        json!({ "keptAt": at, "object": object, "content": content, "events": events }).to_string()
    };
    // What is kept is text within JSON, where each of its quotes takes a byte more.
    let fits = |text: &str| text.len() + text.matches(['"', '\\']).count() <= room;
    loop {
        let whole = record(itself, content, &events);
        if fits(&whole) {
            return whole;
        }
        if events.is_empty() {
            break;
        }
        events.remove(0);
    }
    let content = content.map(essence);
    let short = record(itself, content.as_ref(), &[]);
    // Longer than any snapshot is that VolSync makes.
    if short.len() <= MAX_KEPT {
        return short;
    }
    let named = json!({ "metadata": identity(itself) });
    let short = record(&named, content.as_ref(), &[]);
    if short.len() <= MAX_KEPT {
        return short;
    }
    record(&named, None, &[])
}

/// What finds, in the storage system, what a content stands for; the rest of it the snapshot says too.
fn essence(content: &Value) -> Value {
    let of = |path: &str| content.pointer(path).cloned();
    json!({
        "metadata": { "name": of("/metadata/name"), "uid": of("/metadata/uid") },
        "spec": {
            "driver": of("/spec/driver"),
            "deletionPolicy": of("/spec/deletionPolicy"),
            "source": of("/spec/source"),
        },
        "status": { "snapshotHandle": of("/status/snapshotHandle") },
    })
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

    fn parts() -> (Value, Option<Value>, Vec<Value>) {
        let content = json!({
            "metadata": { "name": "snapcontent-1", "uid": "2", "labels": { "long": "l".repeat(500) } },
            "spec": { "driver": "d", "deletionPolicy": "Delete", "source": { "volumeHandle": "h" } },
            "status": { "snapshotHandle": "s", "error": { "message": "m".repeat(500) } },
        });
        let event = |at: usize| json!({ "reason": format!("r{at}"), "message": "\"".repeat(100) });
        (
            json!({ "metadata": { "name": "n" } }),
            Some(content),
            (0..4).map(event).collect(),
        )
    }

    fn kept(room: usize) -> Value {
        let (object, content, events) = parts();
        let text = fit(&object, content.as_ref(), events, room);
        let kept: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(kept["object"], object);
        let least = kept["events"] == json!([]);
        let taken = json!(text).to_string().len();
        assert!(least || taken <= room + 2, "{taken} bytes of {room}");
        kept
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let (_, content, events) = parts();
        let kept = kept(10_000);
        assert_eq!(
            (&kept["content"], &kept["events"]),
            (&json!(content), &json!(events))
        );
    }

    #[test]
    fn the_oldest_events_go_first() {
        let (_, content, events) = parts();
        let kept = kept(2300);
        let left = kept["events"].as_array().unwrap();
        assert!((1..4).contains(&left.len()), "{kept}");
        assert_eq!(left[..], events[4 - left.len()..]);
        assert_eq!(kept["content"], json!(content));
    }

    #[test]
    fn the_object_and_where_its_snapshot_is_are_kept_in_any_case() {
        let kept = kept(100);
        assert_eq!(kept["content"]["status"], json!({ "snapshotHandle": "s" }));
        assert_eq!(kept["content"]["spec"]["source"]["volumeHandle"], "h");
    }

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
            let kept = fit(
                &plain(object.clone()),
                Some(&plain(object)),
                events,
                MAX_KEPT,
            );
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
        let kept = fit(
            &plain(object),
            None,
            vec![json!({"message": "m"})],
            MAX_KEPT,
        );
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(
            kept["object"]["metadata"],
            json!({"name": "s", "uid": "u", "labels": {"a": "b"}})
        );
        assert_eq!(
            kept["object"]["spec"]["source"]["persistentVolumeClaimName"],
            "c"
        );
        assert_eq!(kept["events"][0]["message"], "m");
    }
}
