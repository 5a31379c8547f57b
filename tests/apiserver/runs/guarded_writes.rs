//! A change between the read of an object and its write: the write must fail.
//!
//! No controller runs here, so that only the test itself changes anything.

use std::sync::{Arc, Mutex};

use axum::http::{Method, Request};
use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::ReplicationSource;
use locksmith::api::{ObjectKey, ObjectKind};
use locksmith::cluster::leader::{self, LEASE_NAME, Leadership};
use locksmith::cluster::{ErrorKind, Tried, Writer};
use locksmith::config::Config;
use locksmith::holds::HoldChange;
use locksmith::metrics::SelfMetrics;
use locksmith::steps::Intent;
use locksmith::tasks::Tasks;
use locksmith::tasks::heartbeat::Heartbeats;
use locksmith::watch::{self, Patterns};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::support::stage::named;
use crate::testbed::{Options, Testbed};

async fn testbed() -> &'static Testbed {
    static QUIET: OnceCell<Testbed> = OnceCell::const_new();
    let options = || Options {
        controllers: false,
        crds: vec![SnapshotHold::crd()],
        ..Options::default()
    };
    QUIET.get_or_init(|| Testbed::start(options())).await
}

/// A source, its snapshot, and a writer that has observed both.
struct Ground {
    snapshots: Api<VolumeSnapshot>,
    source: ReplicationSource,
    client: Client,
    namespace: String,
}

impl Ground {
    async fn new() -> Self {
        let testbed = testbed().await;
        let (client, namespace) = (testbed.client(), testbed.namespace("writer").await);
        let sources: Api<ReplicationSource> = Api::namespaced(client.clone(), &namespace);
        let source = create(&sources, &source("prowlarr")).await;
        Self {
            snapshots: Api::namespaced(client.clone(), &namespace),
            source,
            client,
            namespace,
        }
    }

    /// A failed snapshot of the source.
    fn snapshot(&self) -> VolumeSnapshot {
        let owner = json!({
            "apiVersion": "volsync.backube/v1alpha1",
            "kind": "ReplicationSource",
            "name": self.source.name_any(),
            "uid": self.source.uid(),
            "controller": true,
        });
        let labels = json!({"app.kubernetes.io/created-by": "volsync"});
        let spec = json!({"source": {"persistentVolumeClaimName": "prowlarr"}});
        named(
            json!({"name": "volsync-prowlarr-src", "labels": labels, "ownerReferences": [owner]}),
            json!({"spec": spec}),
        )
    }

    /// Performs `intent`, with `meanwhile` between its read and its write.
    async fn perform(
        &self,
        intent: &Intent,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Tried, ErrorKind> {
        let (writer, _looking) = self.writer(Box::pin(meanwhile)).await;
        writer.perform(intent).await.map_err(|error| error.kind())
    }

    async fn writer(&self, meanwhile: BoxFuture<'static, ()>) -> (Writer, Tasks) {
        let client = interrupted(self.client.clone(), meanwhile);
        self.writer_by(client, Leadership::of_a_person()).await
    }

    async fn writer_by(&self, client: Client, leadership: Leadership) -> (Writer, Tasks) {
        let config = Arc::new(Config::default());
        let (store, looking) =
            watch::start(&self.client, &config, &SelfMetrics::default()).unwrap();
        let mut views = store.views();
        views.wait_for(|view| view.complete()).await.unwrap();
        let writer = Writer::new(
            client,
            store,
            Arc::new(Patterns::new(&config).unwrap()),
            config,
            leadership,
        );
        (writer, looking)
    }

    fn key<K: kube::Resource>(&self, kind: ObjectKind, object: &K) -> ObjectKey {
        ObjectKey {
            kind,
            namespace: self.namespace.as_str().into(),
            name: object.name_any().as_str().into(),
            uid: object.uid().unwrap().as_str().into(),
        }
    }
}

fn source(name: &str) -> ReplicationSource {
    named(
        json!({"name": name}),
        json!({"spec": {"sourcePVC": name, "restic": {}}}),
    )
}

async fn create<K>(api: &Api<K>, object: &K) -> K
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), object).await.unwrap()
}

async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.delete(name, &Default::default()).await.unwrap();
}

/// A client that waits for `meanwhile` before its first write.
fn interrupted(client: Client, meanwhile: BoxFuture<'static, ()>) -> Client {
    let once = Arc::new(Mutex::new(Some(meanwhile)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, once) = (client.clone(), once.clone());
        async move {
            let writes = request.method() != Method::GET;
            let meanwhile = writes.then(|| once.lock().unwrap().take()).flatten();
            if let Some(meanwhile) = meanwhile {
                meanwhile.await;
            }
            client.send(request).await
        }
    });
    Client::new(service, "default")
}

/// A run's hold on two sources, in the namespace of the ground.
async fn held(ground: &Ground) -> (Api<SnapshotHold>, ObjectKey) {
    let holds: Api<SnapshotHold> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let spec =
        json!({"until": "2030-01-01T00:00:00Z", "sources": {"u-1": "media/a", "u-2": "media/b"}});
    let hold: SnapshotHold = named(json!({"name": "run"}), json!({"spec": spec}));
    let made = create(&holds, &hold).await;
    let key = ground.key(ObjectKind::SnapshotHold, &made);
    (holds, key)
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn concurrently_patched_hold_is_patched_again() {
    let ground = Ground::new().await;
    let (holds, hold) = held(&ground).await;
    let release = Intent::PatchHold {
        hold,
        change: HoldChange {
            add: [("u-3".into(), "media/c".to_owned())].into(),
            remove: vec!["u-1".into()],
            release_classes: false,
        },
    };
    let theirs = holds.clone();
    let meanwhile = async move {
        let patch = Patch::Merge(json!({"spec": {"sources": {"u-2": null}}}));
        theirs
            .patch("run", &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    assert_eq!(
        ground.perform(&release, meanwhile).await,
        Err(ErrorKind::Conflict)
    );
    assert_eq!(ground.perform(&release, async {}).await, Ok(Tried::Written));
    let left = holds.get("run").await.unwrap().spec.sources;
    assert_eq!(left.into_values().collect::<Vec<_>>(), ["media/c"]);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn recreated_hold_is_not_patched() {
    let ground = Ground::new().await;
    let (holds, hold) = held(&ground).await;
    let theirs = holds.clone();
    let again = async move {
        delete(&theirs, "run").await;
        let spec = json!({"until": "2030-01-01T00:00:00Z"});
        let hold: SnapshotHold = named(json!({"name": "run"}), json!({"spec": spec}));
        create(&theirs, &hold).await;
    };
    let release = Intent::DeleteHold(hold);
    assert_eq!(
        ground.perform(&release, again).await,
        Err(ErrorKind::Conflict)
    );
    let tried = ground.perform(&release, async {}).await;
    assert!(matches!(tried, Ok(Tried::Skipped(_))), "{tried:?}");
    assert!(holds.get_opt("run").await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn snapshot_that_becomes_ready_is_not_deleted() {
    let ground = Ground::new().await;
    let snapshot = create(&ground.snapshots, &ground.snapshot()).await;
    let doomed = Intent::Delete(ground.key(ObjectKind::VolumeSnapshot, &snapshot));
    let (snapshots, name) = (ground.snapshots.clone(), snapshot.name_any());
    let becomes_ready = async move {
        let patch = Patch::Merge(json!({"status": {"readyToUse": true}}));
        let params = PatchParams::default();
        let patched = snapshots.patch_status(&name, &params, &patch).await;
        patched.unwrap();
    };
    let tried = ground.perform(&doomed, becomes_ready).await;
    assert_eq!(tried, Err(ErrorKind::Conflict));
    let tried = ground.perform(&doomed, async {}).await;
    assert_eq!(tried, Ok(Tried::Skipped("is ready".to_owned())));
    let survivor = ground.snapshots.get(&snapshot.name_any()).await.unwrap();
    assert_eq!(survivor.uid(), snapshot.uid());
    assert_eq!(survivor.metadata.deletion_timestamp, None);
}

/// The clock of a paused virtual machine stops: its term seems valid although another replica leads.
#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn replica_with_a_stopped_clock_writes_nothing() {
    let ground = Ground::new().await;
    let snapshot = create(&ground.snapshots, &ground.snapshot()).await;
    let doomed = Intent::Delete(ground.key(ObjectKind::VolumeSnapshot, &snapshot));
    let (mut leadership, standing) = leader::stand(
        ground.client.clone(),
        &ground.namespace,
        "paused".to_owned(),
        Heartbeats::default().add("leadership"),
        CancellationToken::new(),
    );
    let standing = tokio::spawn(standing);
    let term = leadership.begun().await.unwrap();
    let (writer, _looking) = ground.writer_by(ground.client.clone(), leadership).await;
    // It observes nothing from now on.
    standing.abort();
    let leases: Api<Lease> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let taken = Patch::Merge(json!({ "spec": {
        "holderIdentity": "other", "leaseTransitions": term.number + 1,
    } }));
    let params = PatchParams::default();
    leases.patch(LEASE_NAME, &params, &taken).await.unwrap();
    assert!(writer.leads(), "by its own clock");
    let tried = writer.perform(&doomed).await;
    assert_eq!(
        tried.map_err(|error| error.kind()),
        Err(ErrorKind::NotLeader)
    );
    let survivor = ground.snapshots.get(&snapshot.name_any()).await.unwrap();
    assert_eq!(survivor.metadata.deletion_timestamp, None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn only_the_planned_snapshot_is_deleted() {
    let ground = Ground::new().await;
    let snapshot = create(&ground.snapshots, &ground.snapshot()).await;
    let doomed = Intent::Delete(ground.key(ObjectKind::VolumeSnapshot, &snapshot));
    let (snapshots, again) = (ground.snapshots.clone(), ground.snapshot());
    let replaced = async move {
        delete(&snapshots, &again.name_any()).await;
        create(&snapshots, &again).await;
    };
    let tried = ground.perform(&doomed, replaced).await;
    assert_eq!(tried, Err(ErrorKind::Conflict));
    let other = ground.snapshots.get(&snapshot.name_any()).await.unwrap();
    assert_ne!(other.uid(), snapshot.uid());

    // Only the change in between has prevented the deletion.
    let doomed = Intent::Delete(ground.key(ObjectKind::VolumeSnapshot, &other));
    let tried = ground.perform(&doomed, async {}).await;
    assert_eq!(tried, Ok(Tried::Written));
    let left = ground
        .snapshots
        .get_opt(&snapshot.name_any())
        .await
        .unwrap();
    assert_eq!(left, None);
}
