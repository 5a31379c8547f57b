//! The world's VolSync behaves as the real one did on a real API server.

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::{
    CLEANUP_LABEL, CREATED_BY_LABEL, LATEST_COPY_STATUS, ReplicationDestination, ReplicationSource,
    USE_COPY_TRIGGER, WAITING_FOR_TRIGGER, temporary_name,
};
use locksmith::demo::scenario::{App, Restore, until};
use locksmith::demo::world::WAITING_CLASS;
use serde_json::json;

use crate::world::ground::{Ground, PATIENCE};

impl Ground {
    fn sources(&self, app: &App) -> Api<ReplicationSource> {
        Api::namespaced(self.testbed.client(), &app.namespace)
    }

    fn snapshots(&self, app: &App) -> Api<VolumeSnapshot> {
        Api::namespaced(self.testbed.client(), &app.namespace)
    }

    /// A paused backup in progress, with a ready snapshot.
    async fn paused_backup(&self, name: &str) -> (App, VolumeSnapshot) {
        let app = self.app(name).await;
        let person = self.person();
        app.back_up(&person, Timestamp::now())
            .await
            .expect("a source");
        let paused = json!({"spec": {"paused": true}});
        person
            .merge(&self.sources(&app), name, &paused)
            .await
            .expect("a paused source");
        app.begin_sync(&person).await.expect("a backup begun");
        let snapshot = self
            .testbed
            .until(self.snapshots(&app), &temporary_name(name), ready(None))
            .await;
        let snapshot = snapshot.expect("a ready snapshot is there");
        // A snapshot cannot be deleted while a claim is being restored from it.
        self.bound(&app, &temporary_name(name)).await;
        (app, snapshot)
    }
}

/// A ready snapshot, other than the one with uid `but`.
fn ready(but: Option<String>) -> impl Fn(Option<&VolumeSnapshot>) -> bool {
    move |snapshot| {
        snapshot.is_some_and(|snapshot| {
            let ready = snapshot
                .status
                .as_ref()
                .and_then(|status| status.ready_to_use)
                == Some(true);
            ready && (but.is_none() || snapshot.uid() != but)
        })
    }
}

fn in_progress(source: &ReplicationSource) -> bool {
    source
        .status
        .as_ref()
        .is_some_and(|status| status.last_sync_start_time.is_some())
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn paused_source_recreates_a_deleted_snapshot() {
    let ground = Ground::shared().await;
    let (app, snapshot) = ground.paused_backup("paused").await;
    let source = ground.sources(&app).get("paused").await.unwrap();
    assert_eq!(snapshot.labels()[CREATED_BY_LABEL], "volsync");
    assert_eq!(snapshot.labels()[CLEANUP_LABEL], source.uid().unwrap());
    let owner = &snapshot.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller),
        ("ReplicationSource", Some(true))
    );

    ground
        .person()
        .delete(
            &ground.snapshots(&app),
            &snapshot.name_any(),
            snapshot.uid(),
        )
        .await
        .unwrap();
    ground
        .testbed
        .until(
            ground.snapshots(&app),
            &snapshot.name_any(),
            ready(snapshot.uid()),
        )
        .await;

    assert!(in_progress(
        &ground.sources(&app).get("paused").await.unwrap()
    ));
    ground
        .person()
        .merge(
            &ground.sources(&app),
            "paused",
            &json!({"spec": {"paused": null}}),
        )
        .await
        .unwrap();
    let done =
        |source: Option<&ReplicationSource>| source.is_some_and(|source| !in_progress(source));
    ground
        .testbed
        .until(ground.sources(&app), "paused", done)
        .await;
    let gone = |snapshot: Option<&VolumeSnapshot>| snapshot.is_none();
    ground
        .testbed
        .until(ground.snapshots(&app), &snapshot.name_any(), gone)
        .await;
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn copy_trigger_blocks_snapshots_until_removed() {
    let ground = Ground::shared().await;
    let (app, snapshot) = ground.paused_backup("triggered").await;
    let annotate =
        |value: serde_json::Value| json!({"metadata": {"annotations": {USE_COPY_TRIGGER: value}}});
    ground
        .person()
        .merge(&ground.claims(&app), "triggered", &annotate(json!("yes")))
        .await
        .unwrap();
    ground
        .person()
        .delete(
            &ground.snapshots(&app),
            &snapshot.name_any(),
            snapshot.uid(),
        )
        .await
        .unwrap();

    let waiting = |claim: Option<&PersistentVolumeClaim>| {
        claim.is_some_and(|claim| {
            claim
                .annotations()
                .get(LATEST_COPY_STATUS)
                .is_some_and(|s| s == WAITING_FOR_TRIGGER)
        })
    };
    ground
        .testbed
        .until(ground.claims(&app), "triggered", waiting)
        .await;
    let events: Api<Event> = Api::namespaced(ground.testbed.client(), &app.namespace);
    let said = |events: &[std::sync::Arc<Event>]| {
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("SrcPVCWaitingForCopyTrigger"))
    };
    until(events, "VolSync to say that it waits", PATIENCE, said)
        .await
        .unwrap();

    let removed = Timestamp::now();
    ground
        .person()
        .merge(&ground.claims(&app), "triggered", &annotate(json!(null)))
        .await
        .unwrap();
    let back = ground
        .testbed
        .until(
            ground.snapshots(&app),
            &snapshot.name_any(),
            ready(snapshot.uid()),
        )
        .await
        .unwrap();
    // Whole seconds: the server rounds down.
    assert!(
        back.creation_timestamp().unwrap().0.as_second() >= removed.as_second(),
        "made before the trigger went"
    );
    let created = ground.testbed.audit().events().into_iter().filter(|event| {
        (event.verb.as_str(), event.resource.as_str()) == ("create", "volumesnapshots")
            && event.namespace == app.namespace
    });
    assert_eq!(
        created.count(),
        2,
        "the first, and the one after the trigger went"
    );
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn source_of_a_missing_claim_reports_an_error() {
    let ground = Ground::shared().await;
    let app = App::new(&ground.testbed.namespace("gone").await, "prowlarr");
    app.back_up(&ground.person(), Timestamp::now())
        .await
        .unwrap();
    app.begin_sync(&ground.person()).await.unwrap();
    let error = |source: Option<&ReplicationSource>| {
        let status = source.and_then(|source| source.status.as_ref());
        status.is_some_and(|status| {
            status
                .conditions
                .iter()
                .any(|condition| condition.reason == "Error")
        })
    };
    let source = ground
        .testbed
        .until(ground.sources(&app), "prowlarr", error)
        .await
        .unwrap();
    let condition = &source.status.unwrap().conditions[0];
    assert_eq!(
        (condition.type_.as_str(), condition.status.as_str()),
        ("Synchronizing", "False")
    );
    assert_eq!(
        condition.message,
        "PersistentVolumeClaim \"prowlarr\" not found"
    );
    assert_eq!(
        ground
            .snapshots(&app)
            .get_opt("volsync-prowlarr-src")
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn manual_trigger_runs_one_backup_and_cleans_up() {
    let ground = Ground::shared().await;
    // With a class that waits for its consumer, the temporary claim needs a Node, too.
    let app = App::new(&ground.testbed.namespace("manual").await, "manual").class(WAITING_CLASS);
    app.deploy(&ground.person(), &app.claim()).await.unwrap();
    ground.bound(&app, "manual").await;
    app.back_up(&ground.person(), Timestamp::now())
        .await
        .unwrap();
    let trigger = json!({"spec": {"trigger": {"manual": "now"}}});
    ground
        .person()
        .merge(&ground.sources(&app), "manual", &trigger)
        .await
        .unwrap();
    let idle = |source: Option<&ReplicationSource>| {
        let status = source.and_then(|source| source.status.as_ref());
        status.is_some_and(|status| {
            let waits = status
                .conditions
                .iter()
                .any(|condition| condition.reason == "WaitingForManual");
            waits && status.last_manual_sync.as_deref() == Some("now")
        })
    };
    ground
        .testbed
        .until(ground.sources(&app), "manual", idle)
        .await;
    let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
    ground
        .testbed
        .until(ground.claims(&app), &temporary_name("manual"), gone)
        .await;
    let gone = |snapshot: Option<&VolumeSnapshot>| snapshot.is_none();
    ground
        .testbed
        .until(ground.snapshots(&app), &temporary_name("manual"), gone)
        .await;
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn claim_is_populated_from_the_latest_image() {
    let ground = Ground::shared().await;
    let app = App::new(&ground.testbed.namespace("populated").await, "paperless");
    let destinations: Api<ReplicationDestination> =
        Api::namespaced(ground.testbed.client(), &app.namespace);
    // The claim first, so that it has to wait for the image.
    ground
        .person()
        .create(
            &ground.claims(&app),
            &app.restored_claim(&Restore::Destination),
        )
        .await
        .unwrap();
    ground
        .person()
        .create(&destinations, &app.destination())
        .await
        .unwrap();

    let claim = ground.bound(&app, "paperless").await;
    let prime = format!("vs-prime-{}", claim.uid().unwrap());
    let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
    ground
        .testbed
        .until(ground.claims(&app), &prime, gone)
        .await;

    let volumes: Api<PersistentVolume> = Api::all(ground.testbed.client());
    let volume = volumes
        .get(&claim.spec.unwrap().volume_name.unwrap())
        .await
        .unwrap();
    assert_eq!(
        volume.spec.unwrap().claim_ref.unwrap().uid,
        claim.metadata.uid
    );
    let destination = destinations.get("paperless-dst").await.unwrap();
    let image = destination.status.unwrap().latest_image.unwrap();
    assert!(
        image.name.starts_with("volsync-paperless-dst-dest-"),
        "{}",
        image.name
    );
    let image = ground.snapshots(&app).get(&image.name).await.unwrap();
    assert!(
        image
            .labels()
            .keys()
            .all(|label| !label.contains("volpop-pvc-")),
        "{:?}",
        image.labels()
    );
}
