//! What happens between the moment an object is read and the moment it is written: the write has to lose.
//!
//! No controller runs here, so that nothing but the test itself changes anything.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request};
use futures::StreamExt;
use futures::future::BoxFuture;
use kube::api::{Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use locksmith::api::OPT_OUT_LABEL;
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::ReplicationSource;
use locksmith::config::Config;
use locksmith::holds::{Hold, RunRef, Switch};
use locksmith::kube_io::{Ahead, Tried, Writer};
use locksmith::leader::Leadership;
use locksmith::metrics::Own;
use locksmith::model::{ObjectKey, ObjectKind};
use locksmith::steps::Intent;
use locksmith::tasks::Tasks;
use locksmith::watch::{self, Patterns};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::stage::{is_held, named};
use crate::testbed::{Options, Testbed};

async fn testbed() -> &'static Testbed {
    static QUIET: OnceCell<Testbed> = OnceCell::const_new();
    let options = || Options {
        controllers: false,
        ..Options::default()
    };
    QUIET.get_or_init(|| Testbed::start(options())).await
}

/// A source, a snapshot it made, and a writer that has seen both.
struct Ground {
    sources: Api<ReplicationSource>,
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
            sources,
            source,
            client,
            namespace,
        }
    }

    /// A failed snapshot as the source makes it.
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

    /// Carries `intent` out, with `meanwhile` between its reading and its writing.
    async fn perform(
        &self,
        intent: &Intent,
        meanwhile: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Tried, &'static str> {
        let (writer, _looking) = self.writer(Box::pin(meanwhile)).await;
        writer
            .perform(intent, &Ahead::default())
            .await
            .map_err(|error| error.kind())
    }

    async fn writer(&self, meanwhile: BoxFuture<'static, ()>) -> (Writer, Tasks) {
        self.writer_by(interrupted(self.client.clone(), meanwhile))
            .await
    }

    async fn writer_by(&self, client: Client) -> (Writer, Tasks) {
        let config = Arc::new(Config::default());
        let (store, looking) = watch::start(&self.client, &config, &Own::default()).unwrap();
        let mut views = store.views();
        views.wait_for(|view| view.complete()).await.unwrap();
        let writer = Writer::new(
            client,
            store,
            Arc::new(Patterns::new(&config).unwrap()),
            config,
            Leadership::of_a_person(),
        );
        (writer, looking)
    }

    fn hold(&self) -> Intent {
        let now = jiff::Timestamp::now();
        Intent::Hold {
            object: self.key(ObjectKind::ReplicationSource, &self.source),
            hold: Hold {
                switch: Switch::Paused,
                was: Value::Null,
                run: RunRef {
                    namespace: "locksmith".into(),
                    name: "run".into(),
                    uid: "u-run".into(),
                },
                since: now,
                until: now,
            },
        }
    }

    fn key<K: kube::Resource>(&self, kind: ObjectKind, object: &K) -> ObjectKey {
        ObjectKey {
            kind,
            namespace: self.namespace.as_str().into(),
            name: object.name_any().as_str().into(),
            uid: object.uid().unwrap().as_str().into(),
        }
    }

    /// Somebody else sets `spec.paused`.
    fn pausing(&self, value: bool) -> impl Future<Output = ()> + Send + 'static {
        let sources = self.sources.clone();
        async move {
            let patch = Patch::Merge(json!({"spec": {"paused": value}}));
            let params = PatchParams::default();
            let patched = sources.patch("prowlarr", &params, &patch).await;
            patched.unwrap();
        }
    }

    /// Names of the sources that are held.
    async fn held(&self) -> Vec<String> {
        let sources = self.sources.list(&Default::default()).await.unwrap().items;
        let held = sources.iter().filter(|source| is_held(*source));
        held.map(ResourceExt::name_any).collect()
    }

    async fn now(&self) -> Option<ReplicationSource> {
        self.sources.get_opt("prowlarr").await.unwrap()
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

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_source_deleted_before_the_hold_is_written_is_not_made_again() {
    let ground = Ground::new().await;
    let sources = ground.sources.clone();
    let gone = async move { delete(&sources, "prowlarr").await };
    let tried = ground.perform(&ground.hold(), gone).await;
    assert_eq!(tried, Err("not_found"));
    assert_eq!(ground.now().await, None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_source_made_anew_before_the_hold_is_written_is_another_one() {
    let ground = Ground::new().await;
    let sources = ground.sources.clone();
    let replaced = async move {
        delete(&sources, "prowlarr").await;
        create(&sources, &source("prowlarr")).await;
    };
    let tried = ground.perform(&ground.hold(), replaced).await;
    assert_eq!(tried, Err("conflict"));
    let tried = ground.perform(&ground.hold(), async {}).await;
    assert!(matches!(tried, Ok(Tried::LeftAlone(_))), "{tried:?}");
    let anew = ground.now().await.unwrap();
    assert_ne!(anew.uid(), ground.source.uid());
    assert!(!is_held(&anew) && anew.spec.paused.is_none());
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_source_somebody_pauses_before_the_hold_is_written_is_theirs() {
    let ground = Ground::new().await;
    let tried = ground.perform(&ground.hold(), ground.pausing(true)).await;
    assert_eq!(tried, Err("conflict"));
    let tried = ground.perform(&ground.hold(), async {}).await;
    assert!(matches!(tried, Ok(Tried::LeftAlone(_))), "{tried:?}");
    let theirs = ground.now().await.unwrap();
    assert!(!is_held(&theirs));
    assert_eq!(theirs.spec.paused, Some(true));
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_value_somebody_sets_before_the_release_is_written_is_theirs() {
    let ground = Ground::new().await;
    let tried = ground.perform(&ground.hold(), async {}).await;
    assert_eq!(tried, Ok(Tried::Written));
    let marked = json!(ground.now().await.unwrap());
    let hold = Hold::of(ObjectKind::ReplicationSource, &marked).unwrap();

    let object = ground.key(ObjectKind::ReplicationSource, &ground.source);
    let (writer, _looking) = ground.writer(Box::pin(ground.pausing(false))).await;
    let alone = Ahead::default();
    let error = writer.release(&object, &hold, &alone).await.unwrap_err();
    assert_eq!(error.kind(), "conflict");
    assert_eq!(
        writer.release(&object, &hold, &alone).await.unwrap(),
        Tried::Written
    );
    let theirs = ground.now().await.unwrap();
    assert!(!is_held(&theirs));
    assert_eq!(theirs.spec.paused, Some(false));
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_snapshot_that_becomes_ready_before_its_deletion_is_written_survives() {
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
    assert_eq!(tried, Err("conflict"));
    let tried = ground.perform(&doomed, async {}).await;
    assert_eq!(tried, Ok(Tried::LeftAlone("is ready".to_owned())));
    let survivor = ground.snapshots.get(&snapshot.name_any()).await.unwrap();
    assert_eq!(survivor.uid(), snapshot.uid());
    assert_eq!(survivor.metadata.deletion_timestamp, None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn only_the_snapshot_that_was_decided_on_is_deleted() {
    let ground = Ground::new().await;
    let snapshot = create(&ground.snapshots, &ground.snapshot()).await;
    let doomed = Intent::Delete(ground.key(ObjectKind::VolumeSnapshot, &snapshot));
    let (snapshots, again) = (ground.snapshots.clone(), ground.snapshot());
    let replaced = async move {
        delete(&snapshots, &again.name_any()).await;
        create(&snapshots, &again).await;
    };
    let tried = ground.perform(&doomed, replaced).await;
    assert_eq!(tried, Err("conflict"));
    let other = ground.snapshots.get(&snapshot.name_any()).await.unwrap();
    assert_ne!(other.uid(), snapshot.uid());

    // Nothing but what came between has kept the deletion from being made.
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

/// A client, and how often it has read one object alone.
fn counted(client: Client) -> (Client, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counts = count.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, counts) = (client.clone(), counts.clone());
        async move {
            let alone = request.uri().query().is_none_or(str::is_empty);
            if request.method() == Method::GET && alone {
                counts.fetch_add(1, Ordering::Relaxed);
            }
            client.send(request).await
        }
    });
    (Client::new(service, "default"), count)
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn what_was_read_ahead_is_written_only_as_it_was_read() {
    let ground = Ground::new().await;
    let mut made = Vec::new();
    for name in ["theirs", "gone", "anew", "spared", "touched", "a", "b", "c"] {
        made.push(create(&ground.sources, &source(name)).await);
    }
    let object = |of: &ReplicationSource| ground.key(ObjectKind::ReplicationSource, of);
    let objects: Vec<_> = made.iter().map(object).collect();
    let (client, read_alone) = counted(ground.client.clone());
    let (writer, _looking) = ground.writer_by(client).await;
    let read_ahead = async || -> Vec<_> {
        let batch = writer.read_ahead(objects.clone(), |object| Some(object));
        batch.collect().await
    };
    let read = read_ahead().await;

    let patch = async |name: &str, patch: Value| {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = ground.sources.patch(name, &params, &patch).await;
        patched.unwrap();
    };
    patch("theirs", json!({"spec": {"paused": true}})).await;
    delete(&ground.sources, "gone").await;
    delete(&ground.sources, "anew").await;
    create(&ground.sources, &source("anew")).await;
    patch(
        "spared",
        json!({"metadata": {"labels": {OPT_OUT_LABEL: ""}}}),
    )
    .await;
    patch("touched", json!({"metadata": {"labels": {"any": "other"}}})).await;

    let Intent::Hold { hold, .. } = ground.hold() else {
        unreachable!()
    };
    let mut written = Vec::new();
    for (object, ahead) in read {
        let hold = hold.clone();
        let intent = Intent::Hold { object, hold };
        let tried = writer.perform(&intent, &ahead).await.unwrap();
        written.push(tried == Tried::Written);
    }
    assert_eq!(
        written,
        [false, false, false, false, true, true, true, true]
    );
    let alone = || read_alone.load(Ordering::Relaxed);
    assert_eq!(alone(), 5, "those that had changed");
    assert_eq!(ground.held().await, ["a", "b", "c", "touched"]);

    // And back again: where somebody switched it on meanwhile, only the mark goes.
    let read = read_ahead().await;
    patch("a", json!({"spec": {"paused": false}})).await;
    delete(&ground.sources, "b").await;
    for (object, ahead) in &read[4..] {
        writer.release(object, &hold, ahead).await.unwrap();
    }
    assert_eq!(alone(), 7, "those that had changed");
    assert_eq!(ground.held().await, [""; 0]);
    let theirs = ground.sources.get("a").await.unwrap();
    assert_eq!(theirs.spec.paused, Some(false));
}
