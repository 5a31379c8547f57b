//! The provisioner: a Deployment with two pods that hold two leases and, after a restart, two other pods. Then the Pending
//! claims become Bound.

use axum::http::Method;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::objects::{Object, claims, create, send};
use super::{DRIVER, text};

const NAME: &str = "csi-rbdplugin-provisioner";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/rook-ceph/deployments";
const PODS: &str = "/api/v1/namespaces/rook-ceph/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/rook-ceph/leases";
/// Often, so that a run does not wait for it.
const RENEW_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
const POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// Creates it.
pub async fn install(client: &Client) {
    let labels = json!({ "app": NAME });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": NAME },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": containers() },
            },
        },
        "status": rolled_out(1),
    });
    create(client, vec![Object::new(DEPLOYMENTS, deployment)]).await;
    let leases = locksmith::model::lease_names(DRIVER);
    let lease = |name: String| {
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
            "spec": held_by("first", 0),
        });
        Object::new(LEASES, body)
    };
    create(client, vec![lease(leases.0), lease(leases.1)]).await;
    pods(client, "first").await;
}

fn containers() -> Value {
    let names = ["csi-provisioner", "csi-snapshotter", "csi-rbdplugin"];
    let container = |name| json!({ "name": name, "image": "none" });
    names.map(container).into_iter().collect()
}

fn rolled_out(generation: i64) -> Value {
    json!({
        "observedGeneration": generation, "replicas": 2, "updatedReplicas": 2,
        "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [{
            "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
            "message": "rolled out",
        }],
    })
}

/// Held by such a pod for a day, so that it never expires.
fn held_by(hash: &str, seconds_ago: i64) -> Value {
    let at = Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
    let at = format!("{at:.6}");
    json!({
        "holderIdentity": format!("{NAME}-{hash}-0"), "leaseDurationSeconds": 86_400,
        "acquireTime": at, "renewTime": at, "leaseTransitions": 1,
    })
}

async fn pods(client: &Client, hash: &str) {
    let pod = |at: usize| {
        let body = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("{NAME}-{hash}-{at}"),
                "labels": { "app": NAME, "pod-template-hash": hash },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                    "name": format!("{NAME}-{hash}"), "uid": hash,
                }],
            },
            "spec": { "nodeName": "node", "containers": containers() },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        Object::new(PODS, body)
    };
    create(client, (0..2).map(pod).collect()).await;
}

/// Waits for a restart, and performs its effects. Dropping it ends it.
pub struct Provisioner {
    _acting: AbortOnDropHandle<()>,
}

impl Provisioner {
    /// Starts to watch. `hash` is in the names of the new pods, which replace those with `old`.
    pub fn watch(client: Client, old: &str, hash: &str, pending: usize) -> Self {
        let (old, hash) = (old.to_owned(), hash.to_owned());
        let acting = async move {
            let path = format!("{DEPLOYMENTS}/{NAME}");
            let before = get(&client, &path).await;
            let generation = loop {
                let now = get(&client, &path).await;
                if now["spec"]["template"] != before["spec"]["template"] {
                    break now["metadata"]["generation"].as_i64().unwrap();
                }
                tokio::time::sleep(POLL).await;
            };
            for at in 0..2 {
                let pod = format!("{PODS}/{NAME}-{old}-{at}");
                let at_once = json!({ "gracePeriodSeconds": 0 });
                send(&client, Method::DELETE, &pod, &at_once).await;
            }
            pods(&client, &hash).await;
            let (first, second) = locksmith::model::lease_names(DRIVER);
            for lease in [first, second] {
                let spec = json!({ "spec": held_by(&hash, 0) });
                send(&client, Method::PATCH, &format!("{LEASES}/{lease}"), &spec).await;
            }
            let status = json!({ "status": rolled_out(generation) });
            send(&client, Method::PATCH, &format!("{path}/status"), &status).await;
            tokio::join!(bind(&client, pending), renew(&client));
        };
        Self {
            _acting: AbortOnDropHandle::new(tokio::spawn(acting)),
        }
    }
}

/// Binds the Pending claims.
async fn bind(client: &Client, pending: usize) {
    for at in 0..pending {
        let claim = format!("{}/restored-{at}", claims(at));
        let spec = json!({ "spec": { "volumeName": format!("pvc-restored-{at}") } });
        let bound = send(client, Method::PATCH, &claim, &spec).await;
        let status = json!({ "status": { "phase": "Bound" } });
        let name = text(&bound, "/metadata/name");
        let path = format!("{}/{name}/status", claims(at));
        send(client, Method::PATCH, &path, &status).await;
    }
}

/// Renews both leases for ever, as sidecars do: a renewal proves the takeover if it came before the restart was recorded.
async fn renew(client: &Client) {
    let (first, second) = locksmith::model::lease_names(DRIVER);
    let mut renewals = tokio::time::interval(RENEW_EVERY);
    loop {
        renewals.tick().await;
        let now = Timestamp::now();
        let spec = json!({ "spec": { "renewTime": format!("{now:.6}") } });
        for lease in [&first, &second] {
            send(client, Method::PATCH, &format!("{LEASES}/{lease}"), &spec).await;
        }
    }
}

async fn get(client: &Client, path: &str) -> Value {
    send(client, Method::GET, path, &json!({})).await
}
