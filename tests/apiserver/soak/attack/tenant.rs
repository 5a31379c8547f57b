//! A tenant with every right in one namespace: concurrent writers, as fast as the API server permits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::client::Body;
use kube::{Api, Client};
use locksmith::demo::world::{IMMEDIATE_CLASS, SNAPSHOT_CLASS};
use locksmith::model::lease_names;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::stage::{DRIVER, NAMESPACE, named};
use crate::support::tenant::refusal;
use crate::testbed::Testbed;

/// The tenant's namespace and account.
pub const TENANT: &str = "tenant";

/// Concurrent requests, in addition to one chain of claims and the large annotations.
const WRITERS: usize = 16;
/// Number of claims in the chain.
const CHAIN: usize = 5_000;
/// Number of objects that a writer keeps; it deletes the oldest for each further one.
const KEPT: usize = 400;
/// Pause between two large annotations: etcd keeps each until its compaction.
const LARGE_PAUSE: Duration = Duration::from_millis(250);
/// Number of objects with large annotations, 256 KiB each.
const LARGE: usize = 300;
/// Maximum size of all annotations in bytes (apimachinery, `TotalAnnotationSizeLimitB`); controllers add some.
const ANNOTATIONS: usize = 256 * 1024;
/// The longest name.
const MAX_NAME: usize = 253;

const CLAIMS: &str = "/api/v1/namespaces/tenant/persistentvolumeclaims";
const EVENTS: &str = "/api/v1/namespaces/tenant/events";
const PODS: &str = "/api/v1/namespaces/tenant/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/tenant/leases";
const SNAPSHOTS: &str = "/apis/snapshot.storage.k8s.io/v1/namespaces/tenant/volumesnapshots";
const SOURCES: &str = "/apis/volsync.backube/v1alpha1/namespaces/tenant/replicationsources";

/// Number of responses by action and HTTP status.
type Answers = BTreeMap<(&'static str, u16), usize>;

/// All running writers.
pub struct Writers {
    over: CancellationToken,
    answers: Arc<Mutex<Answers>>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Creates the tenant, and starts the writers.
    pub async fn start(testbed: &Testbed, chance: &mut Rng) -> Self {
        let client = account(testbed).await;
        let over = CancellationToken::new();
        let answers = Arc::new(Mutex::new(Answers::new()));
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS + 2 {
            let writer = Writer {
                client: client.clone(),
                number,
                chance: chance.fork(),
                over: over.clone(),
                answers: answers.clone(),
                kept: VecDeque::new(),
                made: 0,
            };
            match number {
                0 => tasks.spawn(writer.chain()),
                1 => tasks.spawn(writer.annotate()),
                _ => tasks.spawn(writer.churn()),
            };
        }
        Self {
            over,
            answers,
            tasks,
        }
    }

    /// Number of actions by response.
    pub fn answers(&self) -> Answers {
        self.answers.lock().unwrap().clone()
    }

    /// Ends them.
    pub async fn end(mut self) -> Answers {
        self.over.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.answers()
    }
}

/// The tenant: cluster-admin, bound in one namespace.
async fn account(testbed: &Testbed) -> Client {
    let admin = testbed.client();
    let params = Default::default();
    let namespace: Namespace = named(json!({"name": TENANT}), json!({}));
    let namespaces = Api::all(admin.clone());
    namespaces.create(&params, &namespace).await.unwrap();
    let account: ServiceAccount = named(json!({"name": TENANT}), json!({}));
    let accounts = Api::namespaced(admin.clone(), TENANT);
    accounts.create(&params, &account).await.unwrap();
    let binding: RoleBinding = named(
        json!({"name": TENANT}),
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": TENANT, "name": TENANT}],
        }),
    );
    let bindings = Api::namespaced(admin, TENANT);
    bindings.create(&params, &binding).await.unwrap();
    testbed.service_account(TENANT, TENANT).await.client()
}

struct Writer {
    client: Client,
    number: usize,
    chance: Rng,
    over: CancellationToken,
    answers: Arc<Mutex<Answers>>,
    /// Paths of its objects, oldest first.
    kept: VecDeque<String>,
    made: usize,
}

impl Writer {
    /// Creates claims that are named after each other's uid.
    async fn chain(self) {
        let mut last = uid(&mut Rng::with_seed(0));
        for _ in 0..CHAIN {
            if self.over.is_cancelled() {
                return;
            }
            let claim = populated(&format!("vs-prime-{last}"));
            let (_, made) = self.create("chained claim", CLAIMS, &claim).await;
            if let Some(uid) = made.pointer("/metadata/uid").and_then(Value::as_str) {
                uid.clone_into(&mut last);
            }
        }
    }

    /// Writes annotations as large as the API server accepts, alternately on two kinds.
    async fn annotate(mut self) {
        let mut turn = 0_usize;
        while !self.over.is_cancelled() {
            let (path, object) = if turn.is_multiple_of(2) {
                (CLAIMS, populated(&format!("large-{}", turn % LARGE)))
            } else {
                (SNAPSHOTS, snapshot(&format!("large-{}", turn % LARGE)))
            };
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            self.create("object to annotate", path, &object).await;
            // A different value each time, otherwise nothing is written.
            let letter = char::from(self.chance.alphanumeric() as u8);
            let text = String::from(letter).repeat(ANNOTATIONS - 1024);
            let change = json!({"metadata": {"annotations": {"a": text}}});
            self.patch("256 KiB of annotations", &format!("{path}/{name}"), &change)
                .await;
            turn += 1;
            tokio::time::sleep(LARGE_PAUSE).await;
        }
    }

    /// All other actions, at random.
    async fn churn(mut self) {
        while !self.over.is_cancelled() {
            match self.chance.u32(..20) {
                0..5 => {
                    let name = format!("vs-prime-{}", uid(&mut self.chance));
                    self.keep("stray claim", CLAIMS, &populated(&name)).await;
                }
                5..10 => self.forged_snapshot().await,
                10..13 => self.hostile_source().await,
                13..15 => self.forged_event().await,
                15 => self.provisioner().await,
                16 => self.longest_names().await,
                17 => self.claim_of_the_driver().await,
                _ => self.forbidden().await,
            }
            while self.kept.len() > KEPT {
                let oldest = self.kept.pop_front().unwrap();
                self.ask("deletion", Method::DELETE, &oldest, None).await;
            }
        }
    }

    fn name(&mut self, stem: &str) -> String {
        self.made += 1;
        format!("{stem}-{}-{}", self.number, self.made)
    }

    /// A snapshot with VolSync's labels and a status that only the snapshot controller should write.
    async fn forged_snapshot(&mut self) {
        let name = self.name("volsync-forged");
        let name = format!("{name}-src");
        self.keep("snapshot", SNAPSHOTS, &snapshot(&name)).await;
        let status = json!({"status": {
            "readyToUse": false,
            "boundVolumeSnapshotContentName": format!("snapcontent-{}", uid(&mut self.chance)),
            "error": {
                "time": Timestamp::now(),
                "message": format!(
                    "rpc error: code = Aborted desc = an operation with the given Volume ID pvc-{} already exists",
                    uid(&mut self.chance)
                ),
            },
        }});
        let path = format!("{SNAPSHOTS}/{name}/status");
        self.patch("forged status", &path, &status).await;
    }

    /// A source whose claim does not exist, or has a name that would change the path of the look-up.
    async fn hostile_source(&mut self) {
        let name = self.name("source");
        let claim = match self.chance.u32(..4) {
            0 => "?watch=true&n=1".to_owned(),
            1 => "../../../../api/v1/secrets".to_owned(),
            2 => "x".repeat(100_000),
            _ => format!("missing-{name}"),
        };
        let source = json!({
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": name},
            "spec": {"sourcePVC": claim, "restic": {"copyMethod": "Snapshot"}},
        });
        self.keep("source", SOURCES, &source).await;
    }

    /// A claim of the driver that can never be Bound.
    async fn claim_of_the_driver(&mut self) {
        let name = self.name("hopeless");
        let mut claim = populated(&name);
        claim["spec"]["dataSourceRef"] = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "none"});
        self.keep("hopeless claim", CLAIMS, &claim).await;
    }

    /// Events with the driver's refusals on one's own claim.
    async fn forged_event(&mut self) {
        let name = self.name("blamed");
        let (_, claim) = self.keep("blamed claim", CLAIMS, &populated(&name)).await;
        let Some(uid) = claim.pointer("/metadata/uid").and_then(Value::as_str) else {
            return;
        };
        let event = refusal(DRIVER, &format!("pvc-{uid}"), (TENANT, &name, uid));
        let event = serde_json::to_value(event).unwrap();
        let (_, made) = self.create("forged Event", EVENTS, &event).await;
        if let Some(name) = made.pointer("/metadata/name").and_then(Value::as_str) {
            self.kept.push_back(format!("{EVENTS}/{name}"));
        }
    }

    /// A pod and leases like those of the provisioner.
    async fn provisioner(&mut self) {
        let name = self.name("csi-rbdplugin-provisioner");
        let containers = ["csi-provisioner", "csi-snapshotter", "csi-rbdplugin"];
        let containers = containers.map(|name| json!({"name": name, "image": "x"}));
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "csi-rbdplugin-provisioner"}},
            "spec": {"containers": containers},
        });
        self.keep("pod like the provisioner's", PODS, &pod).await;
        let (provisioner, snapshotter) = lease_names(DRIVER);
        for lease in [provisioner, snapshotter] {
            let spec = json!({
                "holderIdentity": name, "leaseDurationSeconds": 3600,
                "renewTime": (Timestamp::now() + SignedDuration::from_mins(5)).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            });
            let object = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": lease}, "spec": spec,
            });
            let what = "lease like the provisioner's";
            if self.create(what, LEASES, &object).await.0 == 409 {
                let path = format!("{LEASES}/{lease}");
                self.patch(what, &path, &json!({"spec": spec})).await;
            }
        }
    }

    /// Names and labels of the maximum length.
    async fn longest_names(&mut self) {
        let name = self.name("n");
        let name = format!("{name}-{}", "x".repeat(MAX_NAME - name.len() - 1));
        let mut claim = populated(&name);
        claim["metadata"]["labels"] = json!({"x".repeat(63): "x".repeat(63)});
        self.keep("longest name", CLAIMS, &claim).await;
        self.keep("longest name", SNAPSHOTS, &snapshot(&name)).await;
    }

    /// Actions without the right, or without effect in this namespace.
    async fn forbidden(&mut self) {
        let until = Timestamp::now() + SignedDuration::from_hours(24);
        let name = self.name("forged");
        let hold = json!({
            "apiVersion": "locksmith.dev/v1alpha1", "kind": "SnapshotHold", "metadata": {"name": name},
            "spec": {"until": until, "sources": {uid(&mut self.chance): "media/sonarr"}, "snapshotClasses": [SNAPSHOT_CLASS]},
        });
        let run = json!({
            "apiVersion": "locksmith.dev/v1alpha1", "kind": "Remediation", "metadata": {"name": name},
            "spec": {"playbook": "csi-operation-locks", "driver": DRIVER, "trigger": {}},
        });
        for (resource, object) in [("snapshotholds", hold), ("remediations", run)] {
            let of = |namespace| {
                format!("/apis/locksmith.dev/v1alpha1/namespaces/{namespace}/{resource}")
            };
            self.create("hold or run of locksmith", &of(NAMESPACE), &object)
                .await;
            self.keep("hold or run of one's own", &of(TENANT), &object)
                .await;
        }
        let stop = json!({"metadata": {"annotations": {"locksmith.dev/stop": ""}}});
        let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
        self.patch("stop", &namespace, &stop).await;
    }

    async fn keep(&mut self, what: &'static str, path: &str, object: &Value) -> (u16, Value) {
        let made = self.create(what, path, object).await;
        if made.0 == 201 {
            let name = object["metadata"]["name"].as_str().unwrap();
            self.kept.push_back(format!("{path}/{name}"));
        }
        made
    }

    async fn create(&self, what: &'static str, path: &str, object: &Value) -> (u16, Value) {
        self.ask(what, Method::POST, path, Some(object)).await
    }

    async fn patch(&self, what: &'static str, path: &str, change: &Value) {
        self.ask(what, Method::PATCH, path, Some(change)).await;
    }

    /// Status and body of the response; 0 for none.
    async fn ask(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let body = body.map(|body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(Body::from(body.unwrap_or_default()))
            .unwrap();
        let answer = match self.client.send(request).await {
            Ok(answer) => {
                let code = answer.status().as_u16();
                let body = axum::body::Body::new(answer.into_body());
                let bytes = axum::body::to_bytes(body, usize::MAX).await;
                (code, bytes.unwrap_or_default())
            }
            Err(_) => (0, Default::default()),
        };
        *self
            .answers
            .lock()
            .unwrap()
            .entry((what, answer.0))
            .or_default() += 1;
        let value = serde_json::from_slice(&answer.1).unwrap_or_default();
        (answer.0, value)
    }
}

fn uid(chance: &mut Rng) -> String {
    uuid::Builder::from_random_bytes(chance.u128(..).to_be_bytes())
        .into_uuid()
        .to_string()
}

/// A claim to be filled by a ReplicationDestination that does not exist.
fn populated(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": IMMEDIATE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
            "dataSourceRef": {"apiGroup": "volsync.backube", "kind": "ReplicationDestination", "name": "none"},
        },
    })
}

/// A snapshot with the labels of VolSync.
fn snapshot(name: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/created-by": "volsync"},
            "ownerReferences": [{
                "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "name": "sonarr",
                "uid": "00000000-0000-4000-8000-000000000000", "controller": true,
            }],
        },
        "spec": {"source": {"persistentVolumeClaimName": "none"}, "volumeSnapshotClassName": SNAPSHOT_CLASS},
    })
}
