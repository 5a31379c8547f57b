//! The script: what a person does, what is waited for, and what is then to be observed.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DynamicObject, Patch};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use locksmith::demo::scenario::{App, Restore};
use serde_json::{Value, json};

use super::ground::Ground;
use super::observe;
use crate::PATIENCE;
use crate::cast::{repository, source};
use crate::objects::{create, within};
use crate::stack::SNAPSHOT_CLASS;

const NAMESPACE: &str = "script";
const CLAIM: (&str, &str) = ("v1", "PersistentVolumeClaim");
const SNAPSHOT: (&str, &str) = ("snapshot.storage.k8s.io/v1", "VolumeSnapshot");
const CONTENT: (&str, &str) = ("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent");
const SOURCE: (&str, &str) = ("volsync.backube/v1alpha1", "ReplicationSource");

/// A moment of the script and what was observed then.
#[derive(Debug, Eq, PartialEq)]
pub struct Stage {
    pub title: &'static str,
    pub observed: String,
}

/// Plays the script in a namespace of its own.
pub async fn play(ground: &Ground) -> Vec<Stage> {
    let script = Script { ground };
    let mut stages = Vec::new();
    create(
        &ground.client(),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
    )
    .await;
    create(&ground.client(), repository(NAMESPACE)).await;
    let app = App::new(NAMESPACE, "data");

    script.claim(&app.claim()).await;
    script.until(CLAIM, "data", bound).await;
    stages.push(script.stage("a claim is bound").await);

    script.snapshot("healthy").await;
    script.until(SNAPSHOT, "healthy", ready).await;
    script.until(CLAIM, "data", unprotected).await;
    stages.push(script.stage("a snapshot is ready").await);

    script.jam().await;
    let refused = observe_logs(ground).await;
    stages.push(
        script
            .stage("calls hang and their retries are refused")
            .await,
    );
    stages.push(Stage {
        title: "the driver's log",
        observed: refused,
    });

    script.delete(SNAPSHOT, "deleted").await;
    let content = script.content_of("deleted").await;
    script.until(CONTENT, &content, being_deleted).await;
    stages.push(
        script
            .stage("a snapshot is deleted while its creation hangs")
            .await,
    );

    ground.restart().await;
    script.until(SNAPSHOT, "stuck", ready).await;
    script.until(CLAIM, "restored", bound).await;
    // The sidecar may miss that the content is to be deleted (external-snapshotter's ShouldEnqueueContentChange).
    script.touch(&content).await;
    script.until(SNAPSHOT, "deleted", gone).await;
    script.until(SOURCE, "slow", waits_for_schedule).await;
    script.until(SNAPSHOT, "volsync-slow-src", gone).await;
    script.until(CLAIM, "volsync-slow-src", gone).await;
    script.until(CLAIM, "data", unprotected).await;
    stages.push(script.stage("the provisioner is restarted").await);

    let orphan = App::new(NAMESPACE, "missing");
    create(&ground.client(), source(&orphan, "orphan")).await;
    create(&ground.client(), source(&app, "backup")).await;
    script.until(SOURCE, "backup", waits_for_schedule).await;
    script.until(SNAPSHOT, "volsync-backup-src", gone).await;
    script.until(CLAIM, "volsync-backup-src", gone).await;
    script.until(SOURCE, "orphan", failing).await;
    stages.push(
        script
            .stage("one source is synchronised, another has no claim")
            .await,
    );
    stages
}

async fn observe_logs(ground: &Ground) -> String {
    let logs = ground.driver_logs().await;
    let lines = logs.values().flat_map(|log| observe::refusals(log));
    let lines: std::collections::BTreeSet<_> = lines.collect();
    lines.into_iter().map(|line| line + "\n").collect()
}

struct Script<'g> {
    ground: &'g Ground,
}

impl Script<'_> {
    async fn stage(&self, title: &'static str) -> Stage {
        Stage {
            title,
            observed: observe::objects(&self.ground.client(), NAMESPACE).await,
        }
    }

    async fn claim(&self, claim: &PersistentVolumeClaim) {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.ground.client(), NAMESPACE);
        claims.create(&Default::default(), claim).await.unwrap();
    }

    async fn snapshot(&self, name: &str) {
        create(
            &self.ground.client(),
            json!({
                "apiVersion": SNAPSHOT.0,
                "kind": SNAPSHOT.1,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "volumeSnapshotClassName": SNAPSHOT_CLASS,
                    "source": {"persistentVolumeClaimName": "data"},
                },
            }),
        )
        .await;
    }

    /// Three snapshots, one of them VolSync's, and a restore hang, and are refused when they are tried again.
    async fn jam(&self) {
        let rule = |method: &str, snapshot: &str| {
            json!({
                "id": format!("{method}-{snapshot}"),
                "method": method,
                "snapshot": snapshot,
                "namespace": NAMESPACE,
                "action": "hang",
                "times": 1,
            })
        };
        self.ground.hang(&[
            rule("CreateSnapshot", "stuck"),
            rule("CreateSnapshot", "deleted"),
            rule("CreateSnapshot", "volsync-slow-src"),
            rule("CreateVolume", "healthy"),
        ]);
        self.snapshot("stuck").await;
        self.snapshot("deleted").await;
        let data = App::new(NAMESPACE, "data");
        create(&self.ground.client(), source(&data, "slow")).await;
        self.until(SNAPSHOT, "volsync-slow-src", |one| one.is_some())
            .await;
        let restored = App::new(NAMESPACE, "restored");
        let from = Restore::Snapshot("healthy".to_owned());
        self.claim(&restored.restored_claim(&from)).await;
        self.ground
            .hung(&[
                format!("snapshot-{}", self.uid(SNAPSHOT, "stuck").await),
                format!("snapshot-{}", self.uid(SNAPSHOT, "deleted").await),
                format!("snapshot-{}", self.uid(SNAPSHOT, "volsync-slow-src").await),
                format!("pvc-{}", self.uid(CLAIM, "restored").await),
            ])
            .await;
        self.until(SNAPSHOT, "stuck", refused).await;
        self.until(SNAPSHOT, "deleted", refused).await;
        self.until(SNAPSHOT, "volsync-slow-src", refused).await;
        self.claim_refused("restored").await;
    }

    /// Waits for an Event that says so: a claim has no status for it.
    async fn claim_refused(&self, name: &str) {
        let uid = self.uid(CLAIM, name).await;
        let events: Api<k8s_openapi::api::core::v1::Event> =
            Api::namespaced(self.ground.client(), NAMESPACE);
        let refused = |events: &[std::sync::Arc<k8s_openapi::api::core::v1::Event>]| {
            events.iter().any(|event| {
                let message = event.message.as_deref().unwrap_or_default();
                event.involved_object.uid.as_ref() == Some(&uid)
                    && message.contains("already exists")
            })
        };
        locksmith::demo::scenario::until(events, "a refusal", PATIENCE, refused)
            .await
            .unwrap();
    }

    async fn uid(&self, kind: (&str, &str), name: &str) -> String {
        self.api(kind).get(name).await.unwrap().uid().unwrap()
    }

    async fn content_of(&self, snapshot: &str) -> String {
        format!("snapcontent-{}", self.uid(SNAPSHOT, snapshot).await)
    }

    async fn delete(&self, kind: (&str, &str), name: &str) {
        self.api(kind)
            .delete(name, &Default::default())
            .await
            .unwrap();
    }

    /// Annotates a content, unless it is gone.
    async fn touch(&self, content: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"script": "touched"}}}));
        match self
            .api(CONTENT)
            .patch(content, &Default::default(), &patch)
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other.unwrap()),
        }
    }

    fn api(&self, (api_version, kind): (&str, &str)) -> Api<DynamicObject> {
        let namespace = (kind != CONTENT.1).then_some(NAMESPACE);
        within(&self.ground.client(), api_version, kind, namespace)
    }

    /// Waits until `wanted` holds of the object, or of its absence.
    async fn until(
        &self,
        kind: (&str, &str),
        name: &str,
        wanted: fn(Option<&DynamicObject>) -> bool,
    ) {
        let reached = await_condition(self.api(kind), name, wanted);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        let Ok(reached) = reached else {
            let found = self.api(kind).get_opt(name).await;
            panic!("waited in vain for {} {name}: {found:#?}", kind.1);
        };
        reached.unwrap();
    }
}

fn status(object: Option<&DynamicObject>) -> Option<&Value> {
    object.map(|object| &object.data["status"])
}

fn bound(claim: Option<&DynamicObject>) -> bool {
    status(claim).is_some_and(|status| status["phase"] == "Bound")
}

fn ready(snapshot: Option<&DynamicObject>) -> bool {
    status(snapshot).is_some_and(|status| status["readyToUse"] == true)
}

fn refused(snapshot: Option<&DynamicObject>) -> bool {
    let message = status(snapshot).and_then(|status| status["error"]["message"].as_str());
    message.is_some_and(|message| message.contains("already exists"))
}

fn being_deleted(object: Option<&DynamicObject>) -> bool {
    object.is_none_or(|object| object.metadata.deletion_timestamp.is_some())
}

fn gone(object: Option<&DynamicObject>) -> bool {
    object.is_none()
}

fn unprotected(claim: Option<&DynamicObject>) -> bool {
    claim.is_some_and(|claim| claim.finalizers() == ["kubernetes.io/pvc-protection"])
}

fn condition(source: Option<&DynamicObject>, reason: &str) -> bool {
    let conditions = status(source).and_then(|status| status["conditions"].as_array());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["reason"] == reason)
}

fn waits_for_schedule(source: Option<&DynamicObject>) -> bool {
    condition(source, "WaitingForSchedule")
}

fn failing(source: Option<&DynamicObject>) -> bool {
    condition(source, "Error")
}
