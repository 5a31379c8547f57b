//! `volsync.backube/v1alpha1`: the fields of VolSync's kinds that are read or written here.
//!
//! Upstream: `api/v1alpha1/replicationsource_types.go`. The `kopia` mover exists only in a fork.

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// API group of VolSync's kinds.
pub const GROUP: &str = "volsync.backube";

/// Annotation on a source PersistentVolumeClaim: while present, with no new [`COPY_TRIGGER`], VolSync
/// waits before it creates a missing snapshot or clone (`volumehandler.go`).
pub const USE_COPY_TRIGGER: &str = "volsync.backube/use-copy-trigger";
/// Annotation by which a person triggers one copy; never written here.
pub const COPY_TRIGGER: &str = "volsync.backube/copy-trigger";
/// Annotation that VolSync writes on the claim with the last copy trigger it served.
pub const LATEST_COPY_TRIGGER: &str = "volsync.backube/latest-copy-trigger";
/// Annotation that VolSync writes on the claim with the state of the copy trigger.
pub const LATEST_COPY_STATUS: &str = "volsync.backube/latest-copy-status";
/// Value of [`LATEST_COPY_STATUS`] that confirms that VolSync is waiting.
pub const WAITING_FOR_TRIGGER: &str = "WaitingForTrigger";

/// Label of every object VolSync created, with the value [`CREATED_BY_VOLSYNC`].
pub const CREATED_BY_LABEL: &str = "app.kubernetes.io/created-by";
/// Value of [`CREATED_BY_LABEL`].
pub const CREATED_BY_VOLSYNC: &str = "volsync";
/// Label of temporaries; its value is the uid of the object they belong to.
pub const CLEANUP_LABEL: &str = "volsync.backube/cleanup";
/// Label by which a person forbids the deletion of a snapshot, by VolSync and by locksmith.
pub const DO_NOT_DELETE_LABEL: &str = "volsync.backube/do-not-delete";
/// Prefix of labels that mark a snapshot in use by the volume populator.
pub const POPULATOR_LABEL_PREFIX: &str = "volsync.backube/volpop-pvc-";

/// Condition type of both kinds.
pub const SYNCHRONIZING: &str = "Synchronizing";

/// Backs up one PersistentVolumeClaim.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "volsync.backube",
    version = "v1alpha1",
    kind = "ReplicationSource",
    plural = "replicationsources",
    printcolumn = r#"{"name":"Source","type":"string","jsonPath":".spec.sourcePVC"}"#,
    printcolumn = r#"{"name":"Last sync","type":"string","format":"date-time","jsonPath":".status.lastSyncTime"}"#,
    printcolumn = r#"{"name":"Next sync","type":"string","format":"date-time","jsonPath":".status.nextSyncTime"}"#,
    namespaced,
    status = "ReplicationSourceStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSourceSpec {
    /// Name of the PersistentVolumeClaim to back up; empty for `external` and `syncthing` set-ups without one.
    #[serde(rename = "sourcePVC", default, skip_serializing_if = "Option::is_none")]
    pub source_pvc: Option<String>,
    /// Schedule of the syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Suspends the mover's Job only: VolSync continues to create snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restic: Option<MoverOptions>,
    /// Mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rclone: Option<MoverOptions>,
    /// Mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsync: Option<MoverOptions>,
    /// Mover.
    #[serde(rename = "rsyncTLS", default, skip_serializing_if = "Option::is_none")]
    pub rsync_tls: Option<MoverOptions>,
    /// Mover of the fork only: it treats `paused` as a completed backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kopia: Option<MoverOptions>,
    /// Mover without snapshots; ignores `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syncthing: Option<SyncthingOptions>,
    /// Mover outside VolSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalOptions>,
}

/// Trigger of a source or destination; `manual` takes precedence over `schedule`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// A value that differs from `status.lastManualSync` starts one sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
}

/// Common options of all copying movers, as far as read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoverOptions {
    /// `Direct`, `None`, `Clone` or `Snapshot`; the CRD has no default, VolSync uses Snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_method: Option<String>,
    /// Storage class of the temporary PersistentVolumeClaim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// Class of the created snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_class_name: Option<String>,
    /// Size of the created PersistentVolumeClaims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// Access modes of the created PersistentVolumeClaims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_modes: Option<Vec<String>>,
}

/// Options of the syncthing mover; none is read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SyncthingOptions {}

/// Options of an external mover, as far as read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ExternalOptions {
    /// Name of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Status of a source.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSourceStatus {
    /// Conditions; see [`SYNCHRONIZING`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Start of the current sync; absent if none is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_start_time: Option<Time>,
    /// End of the last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// Time of the next scheduled sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// The last processed manual trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
}

/// Restores into PersistentVolumeClaims.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "volsync.backube",
    version = "v1alpha1",
    kind = "ReplicationDestination",
    plural = "replicationdestinations",
    printcolumn = r#"{"name":"Last sync","type":"string","format":"date-time","jsonPath":".status.lastSyncTime"}"#,
    printcolumn = r#"{"name":"Next sync","type":"string","format":"date-time","jsonPath":".status.nextSyncTime"}"#,
    namespaced,
    status = "ReplicationDestinationStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestinationSpec {
    /// Schedule of the syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Suspends the mover's Job, as for a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Mover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restic: Option<MoverOptions>,
}

/// Status of a destination.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestinationStatus {
    /// Conditions; see [`SYNCHRONIZING`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The image that restores are made from; locksmith never deletes a snapshot named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_image: Option<TypedLocalObjectReference>,
    /// Start of the current sync; absent if none is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_start_time: Option<Time>,
    /// End of the last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// Time of the next scheduled sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// The last processed manual trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
}

impl ReplicationSourceSpec {
    /// The options of the copying mover, or `None` for `syncthing`, `external` and an empty spec.
    pub fn mover(&self) -> Option<&MoverOptions> {
        [
            &self.restic,
            &self.rclone,
            &self.rsync,
            &self.rsync_tls,
            &self.kopia,
        ]
        .into_iter()
        .find_map(Option::as_ref)
    }

    /// Whether a sync creates a snapshot or clone of the source PersistentVolumeClaim.
    pub fn copies(&self) -> bool {
        self.mover()
            .is_some_and(|m| !matches!(m.copy_method.as_deref(), Some("Direct" | "None")))
    }
}

/// Name of the temporary VolumeSnapshot, and of the temporary PersistentVolumeClaim, of the source `name`.
pub fn temporary_name(name: &str) -> String {
    format!("volsync-{name}-src")
}
