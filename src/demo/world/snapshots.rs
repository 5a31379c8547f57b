//! The snapshot controller: creates a content for each VolumeSnapshot, and copies the content's state to it.
//!
//! Follows `pkg/common-controller/snapshot_controller.go` of external-snapshotter, for dynamic snapshots. A deleted
//! snapshot remains until its content is deleted; a claim remains while a snapshot of it is unready.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::actor::{Actor, Kind};
use super::config::WorldConfig;
use super::control::{control, watching};
use super::events::{Recorder, Severity};
use super::names::CONTENT_FINALIZER;
use super::quantity;
use locksmith_api::snapshot::{
    BEING_DELETED, PVC_AS_SOURCE_FINALIZER, SnapshotRef, VolumeSnapshot, VolumeSnapshotClass,
    VolumeSnapshotContent, VolumeSnapshotContentSource, VolumeSnapshotContentSpec,
};

/// Blocks the deletion of a snapshot while a content is bound to it.
const BOUND_FINALIZER: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
/// Blocks the deletion of a snapshot while a volume is restored from it.
const SOURCE_FINALIZER: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";

#[derive(Debug)]
struct Snapshots {
    actor: Actor,
    recorder: Recorder,
}

/// Runs until dropped.
pub(super) async fn run(client: Client, config: WorldConfig) {
    let actor = Actor::new(client, "snapshot-controller");
    let contents = actor.all::<VolumeSnapshotContent>();
    let claims = actor.all::<PersistentVolumeClaim>();
    let snapshots = Controller::new(actor.all::<VolumeSnapshot>(), watching());
    let known = snapshots.store();
    let snapshots =
        snapshots
            .watches(contents, watching(), owner)
            .watches(claims, watching(), move |claim| {
                let of_claim = known.state_filter(|one| {
                    one.namespace() == claim.namespace()
                        && claim_name(one) == Some(&claim.name_any())
                });
                let refs = of_claim.iter().map(|one| ObjectRef::from_obj(&**one));
                refs.collect::<Vec<_>>()
            });
    let context = Snapshots {
        recorder: Recorder::new(actor.clone(), "snapshot-controller"),
        actor,
    };
    control(snapshots, context, config.timings.retry, reconcile).await;
}

/// The snapshot of a content.
fn owner(content: VolumeSnapshotContent) -> Option<ObjectRef<VolumeSnapshot>> {
    let snapshot = content.spec.volume_snapshot_ref;
    Some(ObjectRef::new(&snapshot.name?).within(&snapshot.namespace?))
}

fn claim_name(snapshot: &VolumeSnapshot) -> Option<&String> {
    snapshot.spec.source.persistent_volume_claim_name.as_ref()
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    let status = snapshot.status.as_ref();
    status.and_then(|status| status.ready_to_use) == Some(true)
}

async fn reconcile(
    snapshot: Arc<VolumeSnapshot>,
    snapshots: Arc<Snapshots>,
) -> Result<Action, kube::Error> {
    // Read again, as the watch may be behind the previous write.
    let api: Api<VolumeSnapshot> = snapshots
        .actor
        .within(&snapshot.namespace().unwrap_or_default());
    let Some(snapshot) = api.get_opt(&snapshot.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let contents: Api<VolumeSnapshotContent> = snapshots.actor.all();
    let content = contents.get_opt(&content_name(&snapshot)).await?;
    if snapshot.metadata.deletion_timestamp.is_some() {
        snapshots.delete(&snapshot, content).await?;
        return Ok(Action::await_change());
    }
    let finalizers = [SOURCE_FINALIZER, BOUND_FINALIZER];
    snapshots.keep(&api, &snapshot, &finalizers).await?;
    match content {
        Some(content) => snapshots.carry_back(&api, &snapshot, &content).await?,
        None => snapshots.begin(&api, &snapshot).await?,
    }
    Ok(Action::await_change())
}

fn content_name(snapshot: &VolumeSnapshot) -> String {
    format!("snapcontent-{}", snapshot.uid().unwrap_or_default())
}

impl Snapshots {
    /// Creates a content, which requests a snapshot from the driver's sidecar.
    async fn begin(
        &self,
        api: &Api<VolumeSnapshot>,
        snapshot: &VolumeSnapshot,
    ) -> Result<(), kube::Error> {
        let namespace = snapshot.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = self.actor.within(&namespace);
        let Some(name) = claim_name(snapshot) else {
            return Ok(());
        };
        let claim = claims.get_opt(name).await?;
        let volume = match &claim {
            Some(claim) => self.volume(claim).await?,
            None => None,
        };
        let (Some(claim), Some(handle)) = (claim, volume) else {
            let cause =
                format!("failed to get the volume of PVC {namespace}/{name}: it is not bound");
            return self.refuse(api, snapshot, &cause).await;
        };
        let wanted = snapshot.spec.volume_snapshot_class_name.as_deref();
        let classes = self.actor.all::<VolumeSnapshotClass>();
        let classes = classes.list(&ListParams::default()).await?.items;
        let mut classes = classes.into_iter();
        let class = classes.find(|class| wanted.is_none_or(|name| class.name_any() == name));
        let Some(class) = class else {
            let cause = "failed to get the VolumeSnapshotClass";
            return self.refuse(api, snapshot, cause).await;
        };
        self.keep(&claims, &claim, &[PVC_AS_SOURCE_FINALIZER])
            .await?;
        let spec = VolumeSnapshotContentSpec {
            volume_snapshot_ref: SnapshotRef {
                namespace: Some(namespace),
                name: Some(snapshot.name_any()),
                uid: snapshot.uid(),
            },
            deletion_policy: class.spec.deletion_policy.clone(),
            driver: class.spec.driver.clone(),
            volume_snapshot_class_name: Some(class.name_any()),
            source: VolumeSnapshotContentSource {
                volume_handle: Some(handle),
                snapshot_handle: None,
            },
        };
        let mut content = VolumeSnapshotContent::new(&content_name(snapshot), spec);
        content.metadata.finalizers = Some(vec![CONTENT_FINALIZER.to_owned()]);
        self.actor.create(&self.actor.all(), &content).await?;
        let name = snapshot.name_any();
        let message = format!(
            "Waiting for a snapshot {}/{name} to be created by the CSI driver.",
            snapshot.namespace().unwrap_or_default()
        );
        self.recorder
            .say(
                snapshot.object_ref(&()),
                Severity::Normal,
                "CreatingSnapshot",
                &message,
            )
            .await;
        Ok(())
    }

    /// CSI handle of the volume that a claim is bound to.
    async fn volume(&self, claim: &PersistentVolumeClaim) -> Result<Option<String>, kube::Error> {
        let spec = claim.spec.as_ref();
        let Some(name) = spec.and_then(|spec| spec.volume_name.as_deref()) else {
            return Ok(None);
        };
        let volume = self.actor.all::<PersistentVolume>().get_opt(name).await?;
        let csi = volume.and_then(|volume| volume.spec?.csi);
        Ok(csi.map(|csi| csi.volume_handle))
    }

    /// Records once why there is no content.
    async fn refuse(
        &self,
        api: &Api<VolumeSnapshot>,
        snapshot: &VolumeSnapshot,
        cause: &str,
    ) -> Result<(), kube::Error> {
        let message = format!("Failed to create snapshot content with error {cause}");
        let error = snapshot
            .status
            .as_ref()
            .and_then(|status| status.error.as_ref());
        if error.and_then(|error| error.message.as_ref()) == Some(&message) {
            return Ok(());
        }
        let error = json!({"time": Time(Timestamp::now()), "message": message});
        let status = json!({"status": {"readyToUse": false, "error": error}});
        self.actor
            .merge_status(api, &snapshot.name_any(), &status)
            .await
            .map(drop)
    }

    /// Copies the content's state to the snapshot.
    async fn carry_back(
        &self,
        api: &Api<VolumeSnapshot>,
        snapshot: &VolumeSnapshot,
        content: &VolumeSnapshotContent,
    ) -> Result<(), kube::Error> {
        let known = content.status.clone().unwrap_or_default();
        let ready = known.ready_to_use == Some(true);
        let status = json!({
            "boundVolumeSnapshotContentName": content.name_any(),
            "readyToUse": ready,
            "restoreSize": known.restore_size.map(quantity::of),
            "error": known.error,
        });
        if says_more(&status, snapshot) {
            let patch = json!({"status": status});
            self.actor
                .merge_status(api, &snapshot.name_any(), &patch)
                .await?;
            if ready && !is_ready(snapshot) {
                self.publish_ready(snapshot).await;
            }
        }
        if ready {
            self.let_go_of_claim(snapshot).await?;
        }
        Ok(())
    }

    /// The driver of this world completes a snapshot immediately, so that both Events come together.
    async fn publish_ready(&self, snapshot: &VolumeSnapshot) {
        let name = format!(
            "{}/{}",
            snapshot.namespace().unwrap_or_default(),
            snapshot.name_any()
        );
        for (reason, message) in [
            (
                "SnapshotCreated",
                format!("Snapshot {name} was successfully created by the CSI driver."),
            ),
            ("SnapshotReady", format!("Snapshot {name} is ready to use.")),
        ] {
            self.recorder
                .say(snapshot.object_ref(&()), Severity::Normal, reason, &message)
                .await;
        }
    }

    async fn delete(
        &self,
        snapshot: &VolumeSnapshot,
        content: Option<VolumeSnapshotContent>,
    ) -> Result<(), kube::Error> {
        let contents: Api<VolumeSnapshotContent> = self.actor.all();
        let api: Api<VolumeSnapshot> = self.actor.within(&snapshot.namespace().unwrap_or_default());
        let Some(content) = content.filter(|content| content.spec.deletion_policy == "Delete")
        else {
            let both = [SOURCE_FINALIZER, BOUND_FINALIZER];
            self.let_go(&api, snapshot, &both).await?;
            return self.let_go_of_claim(snapshot).await;
        };
        if !content.annotations().contains_key(BEING_DELETED) {
            let patch = json!({"metadata": {"annotations": {BEING_DELETED: "yes"}}});
            self.actor
                .merge(&contents, &content.name_any(), &patch)
                .await?;
        }
        if content.metadata.deletion_timestamp.is_none() {
            self.actor
                .delete(&contents, &content.name_any(), content.uid())
                .await?;
        }
        self.let_go(&api, snapshot, &[SOURCE_FINALIZER]).await
    }

    /// Removes the claim's finalizer, unless another snapshot of it is unready.
    async fn let_go_of_claim(&self, snapshot: &VolumeSnapshot) -> Result<(), kube::Error> {
        let namespace = snapshot.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = self.actor.within(&namespace);
        let Some(name) = claim_name(snapshot) else {
            return Ok(());
        };
        let Some(claim) = claims.get_opt(name).await? else {
            return Ok(());
        };
        let all: Api<VolumeSnapshot> = self.actor.within(&namespace);
        let all = all.list(&ListParams::default()).await?;
        let needed = all.items.iter().any(|other| {
            claim_name(other) == Some(name) && other.uid() != snapshot.uid() && !is_ready(other)
        });
        if needed {
            return Ok(());
        }
        self.let_go(&claims, &claim, &[PVC_AS_SOURCE_FINALIZER])
            .await
    }

    /// Adds the missing ones of `finalizers`.
    async fn keep<K: Kind>(
        &self,
        api: &Api<K>,
        object: &K,
        finalizers: &[&str],
    ) -> Result<(), kube::Error> {
        let mut all = object.finalizers().to_vec();
        let missing = |finalizer: &&&str| !object.finalizers().iter().any(|f| f == **finalizer);
        all.extend(finalizers.iter().filter(missing).map(ToString::to_string));
        self.set_finalizers(api, object, &all).await
    }

    /// Removes `finalizers`.
    async fn let_go<K: Kind>(
        &self,
        api: &Api<K>,
        object: &K,
        finalizers: &[&str],
    ) -> Result<(), kube::Error> {
        let mut all = object.finalizers().to_vec();
        all.retain(|finalizer| !finalizers.contains(&finalizer.as_str()));
        self.set_finalizers(api, object, &all).await
    }

    async fn set_finalizers<K: Kind>(
        &self,
        api: &Api<K>,
        object: &K,
        all: &[String],
    ) -> Result<(), kube::Error> {
        if object.finalizers() == all {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "resourceVersion": object.resource_version(),
            "finalizers": all,
        }});
        self.actor
            .merge(api, &object.name_any(), &patch)
            .await
            .map(drop)
    }
}

/// Whether `status` differs from the snapshot's.
fn says_more(status: &Value, snapshot: &VolumeSnapshot) -> bool {
    let shown = json!(snapshot.status);
    let fields = status.as_object().into_iter().flatten();
    fields
        .into_iter()
        .any(|(field, value)| shown.get(field).unwrap_or(&Value::Null) != value)
}
