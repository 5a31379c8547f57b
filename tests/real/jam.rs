//! The jam of the playbook, on the real stack.
//!
//! 20 sources in 4 namespaces. Five calls of CreateSnapshot and four of CreateVolume hang: every retry is refused. The
//! claims of three sources are missing or being deleted, and one mover is copying.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::DynamicObject;
use kube::{Api, ResourceExt};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::demo::scenario::{App, Identity, Restore, until};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::cast::{Cast, NAMESPACES, destination, repository, source};
use crate::objects::{all, create};
use crate::stack::Stack;

/// The jam, for assertions.
pub struct Jam {
    /// Snapshots whose creation hangs.
    pub stuck: Vec<Identity>,
    /// Claims whose restore is refused.
    pub pending: Vec<Identity>,
    /// Sources of stopped apps, in order.
    pub idle: Vec<String>,
    /// Every ReplicationSource.
    pub sources: usize,
}

/// Jobs whose movers copy during the jam.
pub fn copying() -> String {
    let app = Cast::new().copying;
    format!("{}/volsync-src-{}", app.namespace, app.name)
}

/// How often the driver hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hangs {
    /// Each call once: a restarted driver works.
    Once,
    /// One restore hangs again after every restart.
    OneForEver,
}

/// Creates the jam on the stack.
pub async fn jam(stack: &Stack, hangs: Hangs) -> Jam {
    let cast = Cast::new();
    begin_healthy(stack, &cast).await;
    let images = images(stack, &cast).await;
    stack.ceph.set_faults(&faults(&cast, &images, hangs));

    for app in cast.stuck.iter().chain([&cast.leaving, &cast.gone]) {
        back_up(stack, app).await;
    }
    restore(stack, &cast, &images).await;
    stack
        .ceph
        .until("nine calls to hang", |calls| {
            calls.iter().filter(|call| call.event == "hang").count() == 9
        })
        .await;
    let locked = locked_snapshots(stack, &cast).await;
    let pending = pending(stack, &cast).await;
    delete_claim(stack, &cast.leaving).await;
    refused(stack, &pending).await;

    let stopped = cast.idle.iter().filter(|app| !app.running);
    let idle = stopped.chain([&cast.leaving, &cast.gone]);
    let mut idle: Vec<_> = idle.flat_map(|app| app.sources.clone()).collect();
    idle.sort();
    let sources = all(
        &stack.client(),
        "volsync.backube/v1alpha1",
        "ReplicationSource",
    );
    Jam {
        stuck: locked,
        pending,
        idle,
        sources: sources.list(&Default::default()).await.unwrap().items.len(),
    }
}

/// Apps run, their backups are done, images to restore from are ready, and the claims to be restored are deleted.
async fn begin_healthy(stack: &Stack, cast: &Cast) {
    let client = stack.client();
    for namespace in NAMESPACES {
        create(
            &client,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
        create(&client, repository(namespace)).await;
    }
    for app in cast.restored() {
        create(&client, destination(app)).await;
    }
    for app in cast.deployed() {
        claim(stack, app, &app.claim()).await;
        deploy(stack, app).await;
    }
    for app in cast.restored().chain([&cast.leaving, &cast.gone]) {
        claim(stack, app, &app.claim()).await;
    }
    for app in cast.backed_up().chain([&cast.copying]) {
        back_up(stack, app).await;
    }
    let names: Vec<_> = cast
        .backed_up()
        .flat_map(|app| app.sources.clone())
        .collect();
    let sources = all(&client, "volsync.backube/v1alpha1", "ReplicationSource");
    let synced = |sources: &[Arc<DynamicObject>]| {
        let synced = |name: &String| {
            let found = sources.iter().find(|one| one.name_any() == *name);
            found.is_some_and(|one| one.data["status"]["lastSyncTime"].is_string())
        };
        names.iter().all(synced)
    };
    wait_for(sources, "backups to be done", synced).await;
    let running = |pods: &[Arc<Pod>]| {
        let runs = |app: &App| {
            let phase =
                |pod: &Arc<Pod>| pod.status.as_ref().and_then(|status| status.phase.clone());
            pods.iter()
                .any(|pod| app.owns(&**pod) && phase(pod).as_deref() == Some("Running"))
        };
        cast.deployed().filter(|app| app.running).all(runs)
    };
    until(
        Api::<Pod>::all(client.clone()),
        "apps to run",
        PATIENCE,
        running,
    )
    .await
    .unwrap();
    for app in cast.restored().chain([&cast.gone]) {
        delete_claim(stack, app).await;
        claim_gone(stack, app).await;
    }
}

/// Names of the snapshots of the restored apps' destinations.
async fn images(stack: &Stack, cast: &Cast) -> Vec<String> {
    let destinations = all(
        &stack.client(),
        "volsync.backube/v1alpha1",
        "ReplicationDestination",
    );
    let image = |destinations: &[Arc<DynamicObject>], app: &App| {
        let mut found = destinations.iter();
        let found = found.find(|one| one.name_any() == app.destination_name())?;
        Some(
            found.data["status"]["latestImage"]["name"]
                .as_str()?
                .to_owned(),
        )
    };
    let images = |found: &[Arc<DynamicObject>]| -> Option<Vec<String>> {
        cast.restored().map(|app| image(found, app)).collect()
    };
    let found = wait_for(destinations, "images to restore from", |found| {
        images(found).is_some()
    });
    images(&found.await).unwrap()
}

/// The rules by which calls hang.
fn faults(cast: &Cast, images: &[String], hangs: Hangs) -> Vec<Value> {
    let sources = cast.stuck.iter().chain([&cast.leaving]);
    let sources = sources.flat_map(|app| app.sources.iter().map(move |source| (app, source)));
    let snapshots = sources.map(|(app, source)| {
        json!({
            "id": format!("snapshot-{source}"),
            "method": "CreateSnapshot",
            "snapshot": format!("volsync-{source}-src"),
            "namespace": app.namespace,
            "action": "hang",
            "times": 1,
        })
    });
    let restores = cast.restored().zip(images).map(|(app, image)| {
        json!({
            "id": format!("volume-{}", app.name),
            "method": "CreateVolume",
            "snapshot": image,
            "namespace": app.namespace,
            "action": "hang",
            "times": 1,
        })
    });
    let mut rules: Vec<_> = snapshots.chain(restores).collect();
    if hangs == Hangs::OneForEver {
        // The last one is the populator's.
        rules.last_mut().unwrap()["times"].take();
    }
    rules
}

/// Deploys the apps whose data is restored from a backup.
async fn restore(stack: &Stack, cast: &Cast, images: &[String]) {
    for (app, image) in cast.restored().zip(images) {
        let from = if app.name == cast.populating.name {
            Restore::Destination
        } else {
            Restore::Snapshot(image.clone())
        };
        let restored = app.restored_claim(&from);
        claim(stack, app, &restored).await;
        if app.name == cast.again.name {
            let rule = format!("volume-{}", app.name);
            let hangs = |calls: &[crate::ceph::Call]| calls.iter().any(|call| call.rule == rule);
            stack.ceph.until("the restore to hang", hangs).await;
            delete_claim(stack, app).await;
            claim_gone(stack, app).await;
            claim(stack, app, &restored).await;
        }
        deploy(stack, app).await;
    }
}

async fn locked_snapshots(stack: &Stack, cast: &Cast) -> Vec<Identity> {
    let sources = cast.stuck.iter().chain([&cast.leaving]);
    let names: Vec<_> = sources
        .flat_map(|app| {
            app.sources
                .iter()
                .map(move |source| (&app.namespace, format!("volsync-{source}-src")))
        })
        .collect();
    let is = |one: &Arc<VolumeSnapshot>| {
        let error = one.status.as_ref().and_then(|status| status.error.as_ref());
        let message = error
            .and_then(|error| error.message.as_deref())
            .unwrap_or_default();
        let ours = |(namespace, name): &(&String, String)| {
            one.namespace().as_ref() == Some(*namespace) && one.name_any() == *name
        };
        names.iter().any(ours) && message.contains("already exists")
    };
    let snapshots: Api<VolumeSnapshot> = Api::all(stack.client());
    let all = until(snapshots, "snapshots to be refused", PATIENCE, |all| {
        all.iter().filter(|one| is(one)).count() == names.len()
    });
    let all = all.await.unwrap();
    all.iter()
        .filter(|one| is(one))
        .map(|one| Identity::of(&**one))
        .collect()
}

async fn pending(stack: &Stack, cast: &Cast) -> Vec<Identity> {
    let mut pending = Vec::new();
    for app in cast.restored() {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(stack.client(), &app.namespace);
        pending.push(Identity::of(&claims.get(&app.name).await.unwrap()));
    }
    pending
}

/// Waits until each of `pending`, or the claim through which the populator fills it, is refused.
async fn refused(stack: &Stack, pending: &[Identity]) {
    let events: Api<Event> = Api::all(stack.client());
    let refused = |events: &[Arc<Event>], claim: &Identity| {
        let prime = format!("vs-prime-{}", claim.uid);
        events.iter().any(|event| {
            let about = &event.involved_object;
            (about.uid.as_ref() == Some(&claim.uid) || about.name.as_ref() == Some(&prime))
                && event
                    .message
                    .as_ref()
                    .is_some_and(|message| message.contains("already exists"))
        })
    };
    until(events, "restores to be refused", PATIENCE, |events| {
        pending.iter().all(|claim| refused(events, claim))
    })
    .await
    .unwrap();
}

async fn claim(stack: &Stack, app: &App, claim: &PersistentVolumeClaim) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stack.client(), &app.namespace);
    claims.create(&Default::default(), claim).await.unwrap();
}

async fn deploy(stack: &Stack, app: &App) {
    let deployments = Api::namespaced(stack.client(), &app.namespace);
    deployments
        .create(&Default::default(), &app.deployment())
        .await
        .unwrap();
}

async fn back_up(stack: &Stack, app: &App) {
    for name in &app.sources {
        create(&stack.client(), source(app, name)).await;
    }
}

async fn delete_claim(stack: &Stack, app: &App) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stack.client(), &app.namespace);
    claims.delete(&app.name, &Default::default()).await.unwrap();
}

async fn claim_gone(stack: &Stack, app: &App) {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stack.client(), &app.namespace);
    let gone = |claim: Option<&PersistentVolumeClaim>| claim.is_none();
    stack.testbed.until(claims, &app.name, gone).await;
}

/// All objects of an untyped kind, once `wanted` accepts them.
async fn wait_for(
    api: Api<DynamicObject>,
    what: &str,
    wanted: impl Fn(&[Arc<DynamicObject>]) -> bool,
) -> Vec<Arc<DynamicObject>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = api.list(&Default::default()).await.unwrap().items;
        let found: Vec<_> = found.into_iter().map(Arc::new).collect();
        if wanted(&found) {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}: {found:#?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
