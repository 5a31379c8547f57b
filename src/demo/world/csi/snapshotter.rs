//! The external-snapshotter sidecar: takes snapshots for VolumeSnapshotContents, and writes their state.
//!
//! Follows `pkg/sidecar-controller/snapshot_controller.go`. The annotation `volumesnapshot-being-created` is set from
//! before the call until its final answer; until then the content is not deleted. An error is written to `status.error`
//! once: the same message is neither written nor reported again.
//!
//! A content whose creation succeeds after its deletion began is not deleted then: upstream's `ShouldEnqueueContentChange`
//! filters out the update that removes the annotation. Any other change of its annotations, the resync or a restart makes
//! up for it. In real clusters most such deletions are missed; here all are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::actor::Actor;
use crate::ceph::{Driver, Status};
use crate::config::WorldConfig;
use crate::control::{control, watching};
use crate::events::{Recorder, Severity};
use crate::names::{CONTENT_FINALIZER, SNAPSHOTTER_CONTAINER};
use crate::timings::Retry;
use locksmith_api::snapshot::{BEING_CREATED, BEING_DELETED, VolumeSnapshotContent};

/// One leading sidecar.
#[derive(Clone, Debug)]
pub(super) struct Snapshotter {
    actor: Actor,
    recorder: Arc<Recorder>,
    driver: Arc<Driver>,
    driver_name: String,
    retry: Retry,
    resync: Duration,
    missed: Arc<Mutex<HashMap<String, Missed>>>,
}

/// A content whose deletion was missed.
#[derive(Debug)]
struct Missed {
    annotations: BTreeMap<String, String>,
    since: Instant,
}

/// Why a content must be processed again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Driver(#[from] Status),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Snapshotter {
    /// A sidecar calling the `driver` beside it.
    pub(super) fn new(client: &Client, config: &WorldConfig, driver: &Arc<Driver>) -> Self {
        let actor = Actor::new(client.clone(), SNAPSHOTTER_CONTAINER);
        Self {
            recorder: Arc::new(Recorder::new(
                actor.clone(),
                format!("csi-snapshotter {}", config.driver),
            )),
            actor,
            driver: Arc::clone(driver),
            driver_name: config.driver.clone(),
            retry: config.timings.snapshot_retry,
            resync: config.timings.snapshot_resync,
            missed: Arc::default(),
        }
    }

    /// Runs until dropped.
    pub(super) async fn run(self) {
        let contents = Controller::new(self.actor.all::<VolumeSnapshotContent>(), watching());
        let retry = self.retry;
        control(contents, self, retry, sync).await;
    }

    fn contents(&self) -> Api<VolumeSnapshotContent> {
        self.actor.all()
    }

    /// `deleteCSISnapshot`, then removes the content's finalizer.
    async fn delete(&self, content: &VolumeSnapshotContent) -> Result<(), Failure> {
        let name = content.name_any();
        let handle = content
            .status
            .as_ref()
            .and_then(|status| status.snapshot_handle.clone());
        if let Some(handle) = handle.filter(|_| content.spec.deletion_policy == "Delete") {
            if let Err(status) = self.driver.delete_snapshot(handle).await {
                self.say(content, "SnapshotDeleteError", "Failed to delete snapshot")
                    .await;
                return Err(status.into());
            }
            let cleared = json!({"status": {
                "snapshotHandle": null, "readyToUse": null, "creationTime": null, "restoreSize": null,
            }});
            self.actor
                .merge_status(&self.contents(), &name, &cleared)
                .await?;
        }
        let kept: Vec<_> = content
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != CONTENT_FINALIZER)
            .collect();
        if kept.len() < content.finalizers().len() {
            self.actor
                .merge(
                    &self.contents(),
                    &name,
                    &json!({"metadata": {"finalizers": kept}}),
                )
                .await?;
        }
        Ok(())
    }

    /// `createSnapshotWrapper`: calls the driver, which is idempotent.
    async fn create(&self, content: &VolumeSnapshotContent, volume: &str) -> Result<(), Failure> {
        let name = content.name_any();
        if !content.annotations().contains_key(BEING_CREATED) {
            self.annotate(&name, json!("yes")).await?;
        }
        let uid = content
            .spec
            .volume_snapshot_ref
            .uid
            .as_deref()
            .unwrap_or_default();
        match self
            .driver
            .create_snapshot(format!("snapshot-{uid}"), volume.to_owned())
            .await
        {
            Ok(snapshot) => {
                let ready = json!({"status": {
                    "snapshotHandle": snapshot.handle,
                    "readyToUse": true,
                    "creationTime": i64::try_from(snapshot.created.as_nanosecond()).unwrap_or_default(),
                    "restoreSize": snapshot.bytes,
                    "error": null,
                }});
                self.annotate(&name, json!(null)).await?;
                if content.metadata.deletion_timestamp.is_some() {
                    self.miss(content);
                }
                self.actor
                    .merge_status(&self.contents(), &name, &ready)
                    .await?;
                Ok(())
            }
            Err(status) => {
                if status.is_final() {
                    self.annotate(&name, json!(null)).await?;
                }
                self.report(content, volume, &status).await?;
                Err(status.into())
            }
        }
    }

    fn miss(&self, content: &VolumeSnapshotContent) {
        let missed = Missed {
            annotations: enqueued_for(content),
            since: Instant::now(),
        };
        let mut all = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(content.uid().unwrap_or_default(), missed);
    }

    /// For how long the deletion of `content` is missed; `None` if it is noticed.
    fn stays_missed(&self, content: &VolumeSnapshotContent) -> Option<Duration> {
        let mut all = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = content.uid().unwrap_or_default();
        let missed = all.get(&uid)?;
        let left = self.resync.checked_sub(missed.since.elapsed());
        let left = left.filter(|_| missed.annotations == enqueued_for(content));
        if left.is_none() {
            all.remove(&uid);
        }
        left
    }

    async fn annotate(&self, name: &str, value: serde_json::Value) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"annotations": {BEING_CREATED: value}}});
        self.actor
            .merge(&self.contents(), name, &patch)
            .await
            .map(drop)
    }

    /// `updateContentErrorStatusWithEvent`.
    async fn report(
        &self,
        content: &VolumeSnapshotContent,
        volume: &str,
        status: &Status,
    ) -> Result<(), kube::Error> {
        let (reason, message) = wording(content.status.is_none(), volume, status);
        let standing = content
            .status
            .as_ref()
            .and_then(|status| status.error.as_ref());
        if standing.and_then(|error| error.message.as_ref()) == Some(&message) {
            return Ok(());
        }
        self.say(content, reason, &message).await;
        let error = json!({"time": Time(Timestamp::now()), "message": message});
        let patch = json!({"status": {"readyToUse": false, "error": error}});
        self.actor
            .merge_status(&self.contents(), &content.name_any(), &patch)
            .await
            .map(drop)
    }

    async fn say(&self, content: &VolumeSnapshotContent, reason: &'static str, message: &str) {
        self.recorder
            .say(content.object_ref(&()), Severity::Warning, reason, message)
            .await;
    }
}

async fn sync(
    content: Arc<VolumeSnapshotContent>,
    snapshotter: Arc<Snapshotter>,
) -> Result<Action, Failure> {
    // Read again, as the watch may be behind the previous write.
    let Some(content) = snapshotter.contents().get_opt(&content.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if content.spec.driver != snapshotter.driver_name {
        return Ok(Action::await_change());
    }
    let next = next(&content);
    if next == Next::Delete
        && let Some(left) = snapshotter.stays_missed(&content)
    {
        return Ok(Action::requeue(left));
    }
    let outcome = match next {
        Next::Delete => snapshotter.delete(&content).await,
        Next::Create(volume) => snapshotter.create(&content, volume).await,
        Next::Settle => snapshotter
            .annotate(&content.name_any(), json!(null))
            .await
            .map_err(Failure::Api),
        Next::Nothing => Ok(()),
    };
    outcome.map(|()| Action::await_change())
}

/// The annotations whose changes enqueue a content.
fn enqueued_for(content: &VolumeSnapshotContent) -> BTreeMap<String, String> {
    let mut annotations = content.annotations().clone();
    annotations.remove(BEING_CREATED);
    annotations
}

/// The action of `syncContent` for a content.
#[derive(Debug, PartialEq)]
enum Next<'a> {
    Delete,
    /// Create a snapshot of the volume with this handle.
    Create(&'a str),
    /// Ready, but still marked as being created.
    Settle,
    Nothing,
}

fn next(content: &VolumeSnapshotContent) -> Next<'_> {
    let annotated = |key: &str| content.annotations().contains_key(key);
    let deleted = content.metadata.deletion_timestamp.is_some();
    if deleted && !annotated(BEING_CREATED) && annotated(BEING_DELETED) {
        return Next::Delete;
    }
    if content
        .status
        .as_ref()
        .and_then(|status| status.ready_to_use)
        == Some(true)
    {
        return if annotated(BEING_CREATED) {
            Next::Settle
        } else {
            Next::Nothing
        };
    }
    content
        .spec
        .source
        .volume_handle
        .as_deref()
        .map_or(Next::Nothing, Next::Create)
}

/// Reason and message of a failed creation, which differ between the first attempt and later ones.
fn wording(first: bool, volume: &str, status: &Status) -> (&'static str, String) {
    let cause = format!("failed to take snapshot of the volume {volume}: \"{status}\"");
    if first {
        (
            "SnapshotCreationFailed",
            format!("Failed to create snapshot: {cause}"),
        )
    } else {
        (
            "SnapshotContentCheckandUpdateFailed",
            format!("Failed to check and update snapshot content: {cause}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::ceph::Code;
    use locksmith_api::snapshot::{VolumeSnapshotContentSpec, VolumeSnapshotContentStatus};

    fn content(annotations: &[&str], deleted: bool, ready: Option<bool>) -> VolumeSnapshotContent {
        let mut content =
            VolumeSnapshotContent::new("snapcontent-1", VolumeSnapshotContentSpec::default());
        content.spec.source.volume_handle = Some("v".to_owned());
        for key in annotations {
            content
                .annotations_mut()
                .insert((*key).to_owned(), "yes".to_owned());
        }
        content.metadata.deletion_timestamp = deleted.then_some(Time(Timestamp::UNIX_EPOCH));
        content.status = ready.map(|ready| VolumeSnapshotContentStatus {
            ready_to_use: Some(ready),
            ..Default::default()
        });
        content
    }

    #[test]
    fn content_is_created_until_it_is_ready() {
        assert_eq!(next(&content(&[], false, None)), Next::Create("v"));
        assert_eq!(
            next(&content(&[BEING_CREATED], false, Some(false))),
            Next::Create("v")
        );
        assert_eq!(
            next(&content(&[BEING_CREATED], false, Some(true))),
            Next::Settle
        );
        assert_eq!(next(&content(&[], false, Some(true))), Next::Nothing);
    }

    #[test]
    fn content_being_created_is_not_deleted() {
        assert_eq!(
            next(&content(&[BEING_CREATED, BEING_DELETED], true, Some(false))),
            Next::Create("v")
        );
        assert_eq!(
            next(&content(&[BEING_CREATED, BEING_DELETED], true, Some(true))),
            Next::Settle
        );
        assert_eq!(
            next(&content(&[BEING_DELETED], true, Some(true))),
            Next::Delete
        );
    }

    #[test]
    fn errors_have_the_wording_of_the_sidecar() {
        let message = "an operation with the given Volume ID snapshot-1 already exists".to_owned();
        let status = Status {
            code: Code::Aborted,
            message,
        };
        let cause = "failed to take snapshot of the volume 0001-v: \"rpc error: code = Aborted desc = \
                     an operation with the given Volume ID snapshot-1 already exists\"";
        assert_eq!(
            wording(true, "0001-v", &status),
            (
                "SnapshotCreationFailed",
                format!("Failed to create snapshot: {cause}")
            )
        );
        assert_eq!(
            wording(false, "0001-v", &status),
            (
                "SnapshotContentCheckandUpdateFailed",
                format!("Failed to check and update snapshot content: {cause}")
            )
        );
    }
}
