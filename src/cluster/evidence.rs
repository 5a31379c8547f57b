//! Evidence: an object as returned by the API server, with its content and Events, recorded before it is deleted.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{GetParams, ListParams};
use kube::core::{ApiResource, Request};
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::{WriteError, Writer, bounded};
use crate::api::hold::SnapshotHold;
use crate::api::is_object_name;
use crate::api::remediation::{EvidenceRecord, Remediation};
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::api::volsync::ReplicationSource;
use crate::api::{ObjectKey, ObjectKind};
use crate::watch::Guarded;

/// Maximum number of Events kept of each object, the latest ones.
const EVENTS: usize = 10;

/// Maximum number of Events read of each object, as tenants may create any number.
const EVENTS_READ: u32 = 500;

/// Longest record, in bytes: the pod of a provisioner with nine containers takes 25 KiB. All evidence of a run is in one
/// object, which the API server limits, and tenants decide the size of theirs.
const MAX_KEPT: usize = 32 * 1024;

/// The API resource of a kind. Every kind has one: a missing object reads as deleted, and nothing else may.
fn resource(kind: ObjectKind) -> ApiResource {
    match kind {
        ObjectKind::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
        ObjectKind::PersistentVolume => ApiResource::erase::<PersistentVolume>(&()),
        ObjectKind::VolumeSnapshot => ApiResource::erase::<VolumeSnapshot>(&()),
        ObjectKind::VolumeSnapshotContent => ApiResource::erase::<VolumeSnapshotContent>(&()),
        ObjectKind::VolumeSnapshotClass => ApiResource::erase::<VolumeSnapshotClass>(&()),
        ObjectKind::ReplicationSource => ApiResource::erase::<ReplicationSource>(&()),
        ObjectKind::Deployment => ApiResource::erase::<Deployment>(&()),
        ObjectKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        ObjectKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        ObjectKind::Lease => ApiResource::erase::<Lease>(&()),
        ObjectKind::Pod => ApiResource::erase::<Pod>(&()),
        ObjectKind::Remediation => ApiResource::erase::<Remediation>(&()),
        ObjectKind::SnapshotHold => ApiResource::erase::<SnapshotHold>(&()),
    }
}

impl Writer {
    /// The object, its content and its Events, or `None` if it no longer exists; then nothing is deleted either.
    ///
    /// If they take more than `room` bytes, the oldest Events are left out first, then redundant parts.
    pub async fn gather(
        &self,
        object: &ObjectKey,
        room: usize,
    ) -> Result<Option<EvidenceRecord>, WriteError> {
        let Some(itself) = self
            .read(object.kind, &object.namespace, &object.name)
            .await?
        else {
            return Ok(None);
        };
        let text = |path: &str| itself.pointer(path).and_then(Value::as_str);
        if text("/metadata/uid").is_none_or(|uid| object.uid != *uid) {
            return Ok(None);
        }
        let version = text("/metadata/resourceVersion")
            .unwrap_or_default()
            .to_owned();
        let bound = text("/status/boundVolumeSnapshotContentName")
            .filter(|name| object.kind == ObjectKind::VolumeSnapshot && is_object_name(name));
        let content = match bound {
            Some(name) => {
                self.read(ObjectKind::VolumeSnapshotContent, "", name)
                    .await?
            }
            None => None,
        };
        let events = self.events(object).await?;
        Ok(Some(EvidenceRecord {
            object: object.clone(),
            resource_version: version,
            content: fit(
                &plain(itself),
                content.map(plain).as_ref(),
                latest(events),
                room.min(MAX_KEPT),
            ),
        }))
    }

    /// The current object with that name, with every field that the API server returns, or `None` if there is none.
    async fn read(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, WriteError> {
        let resource = resource(kind);
        let object = || format!("{} {namespace}/{name}", kind.as_str());
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let request = Request::new(kube::core::DynamicObject::url_path(&resource, namespace));
        let read = async {
            let request = request
                .get(name, &GetParams::default())
                .map_err(kube::Error::BuildRequest)?;
            match self.client().request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
                answer => answer.map(Some),
            }
        };
        bounded("get", object, read).await
    }

    async fn events(&self, object: &ObjectKey) -> Result<Vec<Event>, WriteError> {
        let events: Api<Guarded<Event>> = Api::namespaced(self.client().clone(), &object.namespace);
        let about = ListParams::default()
            .fields(&format!("involvedObject.uid={}", object.uid))
            .limit(EVENTS_READ);
        let named = || format!("Events of {object}");
        let listed = bounded("list", named, events.list(&about)).await?;
        let parsed = listed.items.iter().filter_map(Guarded::parsed);
        Ok(parsed.cloned().collect())
    }
}

/// Identity of an object, with its creation and deletion time.
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

/// The object without `managedFields`, which are long and not needed to rebuild it.
fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// As much as fits into `room` bytes of a status. The oldest Events are left out first, then parts that are not needed to
/// rebuild the object: its status, and the content except the fields that find its snapshot in the storage system; then
/// metadata set by the owner, and finally the spec. The identity is always kept.
fn fit(itself: &Value, content: Option<&Value>, mut events: Vec<Value>, room: usize) -> String {
    let at = Timestamp::now();
    let record = |object: &Value, content: Option<&Value>, events: &[Value]| {
        json!({ "keptAt": at, "object": object, "content": content, "events": events }).to_string()
    };
    // The record is text within JSON, where each quote takes an additional byte.
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
    let mut cut = itself.clone();
    let mut short = record(&cut, content.as_ref(), &[]);
    for reduce in [without_status, identified, named] {
        if fits(&short) {
            return short;
        }
        cut = reduce(cut);
        short = record(&cut, content.as_ref(), &[]);
    }
    // No driver writes a content that is longer.
    if short.len() <= MAX_KEPT {
        short
    } else {
        record(&cut, None, &[])
    }
}

fn without_status(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

/// The object with only identifying metadata.
fn identified(mut object: Value) -> Value {
    object["metadata"] = identity(&object);
    object
}

/// Only the identity. Nothing can be rebuilt from it, which `locksmith evidence` reports.
fn named(object: Value) -> Value {
    let mut fields = object;
    let kept = ["apiVersion", "kind", "metadata"];
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|field, _| kept.contains(&&**field));
    }
    fields
}

/// The fields of a content that find its snapshot in the storage system; the VolumeSnapshot has the others.
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
    use rstest::rstest;

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
        let least = kept["events"] == json!([]);
        let taken = json!(text).to_string().len();
        assert!(least || taken <= room + 2, "{taken} bytes of {room}");
        kept
    }

    #[test]
    fn fitting_evidence_is_kept_whole() {
        let (_, content, events) = parts();
        let kept = kept(10_000);
        assert_eq!(
            (&kept["content"], &kept["events"]),
            (&json!(content), &json!(events))
        );
    }

    #[test]
    fn oldest_events_are_dropped_first() {
        let (_, content, events) = parts();
        let kept = kept(2300);
        let left = kept["events"].as_array().unwrap();
        assert!((1..4).contains(&left.len()), "{kept}");
        assert_eq!(left[..], events[4 - left.len()..]);
        assert_eq!(kept["content"], json!(content));
    }

    #[test]
    fn identity_and_snapshot_handle_are_always_kept() {
        let kept = kept(100);
        assert_eq!(kept["content"]["status"], json!({ "snapshotHandle": "s" }));
        assert_eq!(kept["content"]["spec"]["source"]["volumeHandle"], "h");
    }

    /// Attack: a failed snapshot with as many annotations as the API server accepts, so that the status of the run that
    /// deletes it cannot be written. Defence: evidence is limited in size.
    #[test]
    fn evidence_is_limited_and_always_has_the_identity() {
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

    /// An object with all parts, and the parts kept for each size.
    #[rstest]
    #[case::whole(10_000, &["apiVersion", "kind", "metadata", "spec", "status"], true)]
    #[case::without_its_status(3_200, &["apiVersion", "kind", "metadata", "spec"], true)]
    #[case::without_its_owners_metadata(1_800, &["apiVersion", "kind", "metadata", "spec"], false)]
    #[case::by_name_alone(700, &["apiVersion", "kind", "metadata"], false)]
    fn status_is_dropped_before_metadata_before_spec(
        #[case] room: usize,
        #[case] fields: &[&str],
        #[case] labelled: bool,
    ) {
        let object = json!({
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": "s", "uid": "u", "labels": {"a": "b".repeat(1_000)}, "managedFields": [1]},
            "spec": {"restic": {"repository": "r".repeat(1_000)}},
            "status": {"lastSyncTime": "t".repeat(1_000)},
        });
        let kept: Value =
            serde_json::from_str(&fit(&plain(object), None, Vec::new(), room)).unwrap();
        let object = kept["object"].as_object().unwrap();
        assert_eq!(object.keys().collect::<Vec<_>>(), fields);
        assert_eq!(object["metadata"]["uid"], "u");
        assert_eq!(object["metadata"].get("labels").is_some(), labelled);
    }

    #[test]
    fn ordinary_object_is_kept_whole() {
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
