//! The objects of a jam, and their creation in thousands.

use axum::http::{Method, Request};
use futures::StreamExt;
use kube::Client;
use serde_json::{Value, json};

use super::{DRIVER, text};

/// Number of concurrent requests.
const CONCURRENCY: usize = 32;

/// Number of namespaces of the apps.
const NAMESPACES: usize = 20;

/// An object to create, with its status.
pub struct Object {
    collection: String,
    body: Value,
}

impl Object {
    /// An object in the collection at that path.
    pub fn new(collection: impl Into<String>, body: Value) -> Self {
        Self {
            collection: collection.into(),
            body,
        }
    }
}

/// Creates all of them; returns each as stored.
pub async fn create(client: &Client, objects: Vec<Object>) -> Vec<Value> {
    let creations = objects.into_iter().map(|object| {
        let client = client.clone();
        async move {
            let Object { collection, body } = object;
            let made = send(&client, Method::POST, &collection, &body).await;
            let Some(status) = body.get("status") else {
                return made;
            };
            let path = format!("{collection}/{}/status", text(&made, "/metadata/name"));
            send(&client, Method::PATCH, &path, &json!({ "status": status })).await
        }
    });
    let creations = futures::stream::iter(creations);
    creations.buffered(CONCURRENCY).collect().await
}

/// Sends a request; a PATCH is a merge patch.
pub async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Value {
    let kind = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header("content-type", kind)
        .body(body.to_string().into_bytes())
        .unwrap();
    let answer = client.request(request).await;
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The objects that must exist before any app: namespaces, classes, and the provisioner's node.
pub fn ground(own: &str, kubelet: u16) -> Vec<Object> {
    let names = (0..NAMESPACES).map(namespace);
    let names = names.chain([own.to_owned(), "rook-ceph".to_owned()]);
    let mut objects: Vec<_> = names
        .map(|name| {
            let body =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            Object::new("/api/v1/namespaces", body)
        })
        .collect();
    objects.push(Object::new(
        "/apis/storage.k8s.io/v1/storageclasses",
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": "ceph-block" }, "provisioner": DRIVER,
        }),
    ));
    objects.push(Object::new(
        "/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses",
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": { "name": "csi-ceph-block" }, "driver": DRIVER, "deletionPolicy": "Delete",
        }),
    ));
    objects.push(Object::new(
        "/api/v1/nodes",
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet } },
            },
        }),
    ));
    objects
}

/// A service account with all rights.
pub fn account(namespace: &str, name: &str) -> Vec<Object> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name },
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": name }],
    });
    vec![
        Object::new(
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            account,
        ),
        Object::new(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            binding,
        ),
    ]
}

/// Namespace of the app with this number.
pub fn namespace(at: usize) -> String {
    format!("team-{:02}", at % NAMESPACES)
}

/// Name of its claim and of its source.
pub fn app(at: usize) -> String {
    format!("application-{at}")
}

fn collection(api: &str, at: usize, plural: &str) -> String {
    format!("{api}/namespaces/{}/{plural}", namespace(at))
}

/// Collection of the claims in that app's namespace.
pub fn claims(at: usize) -> String {
    collection("/api/v1", at, "persistentvolumeclaims")
}

/// Collection of the sources in that app's namespace.
pub fn sources(at: usize) -> String {
    collection("/apis/volsync.backube/v1alpha1", at, "replicationsources")
}

fn snapshots(at: usize) -> String {
    let api = "/apis/snapshot.storage.k8s.io/v1";
    collection(api, at, "volumesnapshots")
}

/// A Bound claim.
pub fn claim(at: usize) -> Object {
    let mut body = pending(&app(at), None);
    body["spec"]["volumeName"] = json!(format!("pvc-{at}"));
    body["status"] = json!({ "phase": "Bound" });
    Object::new(claims(at), body)
}

/// A Pending claim.
pub fn pending(name: &str, from: Option<&str>) -> Value {
    let source = from.map(|name| {
        json!({ "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name })
    });
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "labels": { "app.kubernetes.io/name": name } },
        "spec": {
            "storageClassName": "ceph-block",
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "5Gi" } },
            "dataSource": source,
        },
    })
}

/// A source of the claim with this number.
pub fn source(at: usize) -> Object {
    let body = json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
        "metadata": { "name": app(at) },
        "spec": {
            "sourcePVC": app(at),
            "trigger": { "schedule": "0 * * * *" },
            "restic": { "copyMethod": "Snapshot", "volumeSnapshotClassName": "csi-ceph-block" },
        },
    });
    Object::new(sources(at), body)
}

const REFUSAL: &str = "Failed to create snapshot: failed to take snapshot of the volume 0001-0009-rook-ceph-0000000000000002-4b0c4d5e: \"rpc error: code = Aborted desc = an operation with the given Volume ID 0001-0009-rook-ceph-0000000000000002-4b0c4d5e already exists\"";

/// The snapshot of a source, which has been refused for some minutes.
pub fn failed_snapshot(at: usize, source: &Value) -> Object {
    snapshot(
        at,
        &format!("volsync-{}-src", app(at)),
        &json!([{
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "name": app(at), "uid": text(source, "/metadata/uid"),
            "controller": true, "blockOwnerDeletion": true,
        }]),
        &json!({
            "readyToUse": false,
            "error": { "time": some_time_ago(), "message": REFUSAL },
        }),
    )
}

fn snapshot(at: usize, name: &str, owners: &Value, status: &Value) -> Object {
    let body = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {
            "name": name, "ownerReferences": owners,
            "labels": { "app.kubernetes.io/created-by": "volsync" },
        },
        "spec": {
            "volumeSnapshotClassName": "csi-ceph-block",
            "source": { "persistentVolumeClaimName": app(at) },
        },
        "status": status,
    });
    Object::new(snapshots(at), body)
}

/// The content of a failed snapshot.
pub fn refused_content(snapshot: &Value) -> Object {
    let uid = text(snapshot, "/metadata/uid");
    let body = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": { "name": format!("snapcontent-{uid}") },
        "spec": {
            "driver": DRIVER, "deletionPolicy": "Delete",
            "volumeSnapshotClassName": "csi-ceph-block",
            "source": { "volumeHandle": format!("0001-0009-rook-ceph-0000000000000002-{uid}") },
            "volumeSnapshotRef": {
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "uid": uid,
                "namespace": text(snapshot, "/metadata/namespace"),
                "name": text(snapshot, "/metadata/name"),
            },
        },
        "status": {
            "readyToUse": false,
            "error": { "time": some_time_ago(), "message": REFUSAL },
        },
    });
    let path = "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents";
    Object::new(path, body)
}

/// A ready snapshot, and a Pending claim that is restored from it.
pub fn restore(at: usize) -> [Object; 2] {
    let (image, name) = (format!("image-{at}"), format!("restored-{at}"));
    [
        snapshot(
            at,
            &image,
            &json!([]),
            &json!({ "readyToUse": true, "restoreSize": "5Gi" }),
        ),
        Object::new(claims(at), pending(&name, Some(&image))),
    ]
}

fn some_time_ago() -> String {
    let ago = jiff::SignedDuration::from_mins(20);
    format!("{:.0}", jiff::Timestamp::now() - ago)
}
