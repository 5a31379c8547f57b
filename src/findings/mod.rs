//! Stuck objects, with reasons: a [`Model`] in, [`Finding`]s out. Pure.
//!
//! One file per detector. Reasons are closed enums, so that they can be metric labels; free text in messages is only
//! evidence.

/// Defines a closed enum of reasons, each with its metric label.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
        )]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The reason as a metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

mod claim;
mod deletion;
mod doubts;
mod jam;
mod lock;
mod refusal_reports;
mod snapshot;
mod source;
pub mod storage;
mod waiters;

pub use claim::{awaited, young_claims};
pub use doubts::{Doubt, DoubtKind, doubts, drivers_of_classes};
pub use lock::{FormingLocks, proven};

pub use snapshot::{
    content as snapshot_content, driver as snapshot_driver, has_snapshotter,
    source as snapshot_source,
};
pub(crate) use waiters::Waiters;
#[cfg(test)]
pub mod tests;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr, SkipReason, Uid};
use crate::config::{Detect, Drivers};
use crate::model::Model;

/// Settings that decide whether something is stuck.
#[derive(Clone, Debug, Default)]
pub struct DetectionSettings {
    /// Thresholds.
    pub detect: Detect,
    /// Watched drivers.
    pub drivers: Drivers,
    /// Whether the cluster is read only once. The time for which a claim has been missing is then unknown.
    pub one_shot: bool,
}

/// A finding: an object that is stuck or held.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Kind and reason.
    #[serde(flatten)]
    pub what: FindingReason,
    /// Affected object; for a lock, the object that waits for it, if the key identifies one.
    pub object: Option<ObjectKey>,
    /// Time since which it is stuck; for a missing claim, time of the first read that did not find it.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// CSI driver, if known.
    pub driver: Option<SharedStr>,
    /// StorageClass or VolumeSnapshotClass, if known.
    pub class: Option<SharedStr>,
    /// Storage that is stuck with it, in bytes.
    pub bytes: u64,
    /// VolumeSnapshot that a pending claim is restored from, if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restores: Option<ObjectKey>,
    /// Objects between it and the cause, nearest first.
    pub chain: Vec<ObjectKey>,
    /// Evidence as text; never a metric label.
    pub evidence: Vec<String>,
}

impl Finding {
    /// Whether it has been stuck for longer than since `since`, by an unknown time: the cluster does not record when a claim was
    /// deleted. A process that has watched for long enough knows better.
    pub fn began_unseen(&self) -> bool {
        self.what == FindingReason::OrphanedSource(SourceReason::ClaimMissing)
    }
}

/// The kinds of finding, each with its reasons.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "finding", content = "reason", rename_all = "snake_case")]
pub enum FindingReason {
    /// A PersistentVolumeClaim is Pending for too long.
    PendingClaim(ClaimReason),
    /// A VolumeSnapshot is not ready for too long.
    FailedSnapshot(SnapshotReason),
    /// A VolumeSnapshot or its content is being deleted for too long.
    DeletionStuck(DeletionReason),
    /// A ReplicationSource backs up a claim that is gone or going.
    OrphanedSource(SourceReason),
    /// An operation on this key is refused for too long.
    OperationLock(LockKey),
    /// A ReplicationSource is held.
    HeldSource,
}

/// The kinds of finding, without their reasons.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FindingKind {
    /// [`FindingReason::PendingClaim`].
    PendingClaim,
    /// [`FindingReason::FailedSnapshot`].
    FailedSnapshot,
    /// [`FindingReason::DeletionStuck`].
    DeletionStuck,
    /// [`FindingReason::OrphanedSource`].
    OrphanedSource,
    /// [`FindingReason::OperationLock`].
    OperationLock,
    /// [`FindingReason::HeldSource`].
    HeldSource,
}

impl FindingKind {
    /// The kinds of finding that mean stuck: all but held sources.
    pub const STUCK: [Self; 5] = [
        Self::PendingClaim,
        Self::FailedSnapshot,
        Self::DeletionStuck,
        Self::OrphanedSource,
        Self::OperationLock,
    ];

    /// The kind as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingClaim => "pending_claim",
            Self::FailedSnapshot => "failed_snapshot",
            Self::DeletionStuck => "deletion_stuck",
            Self::OrphanedSource => "orphaned_source",
            Self::OperationLock => "operation_lock",
            Self::HeldSource => "held_source",
        }
    }

    /// Title of a table of findings of this kind.
    pub fn title(self) -> &'static str {
        match self {
            Self::PendingClaim => "Pending PersistentVolumeClaims",
            Self::FailedSnapshot => "Failed VolumeSnapshots",
            Self::DeletionStuck => "Snapshots whose deletion hangs",
            Self::OrphanedSource => "ReplicationSources whose claim is gone",
            Self::OperationLock => "Operation locks, by waiting object",
            Self::HeldSource => "Held ReplicationSources",
        }
    }

    /// Noun for a number of findings of this kind.
    pub fn noun(self) -> &'static str {
        match self {
            Self::PendingClaim => "claim",
            Self::FailedSnapshot => "snapshot",
            Self::DeletionStuck => "deletion",
            Self::OrphanedSource => "source",
            Self::OperationLock => "lock",
            Self::HeldSource => "held source",
        }
    }
}

impl FindingReason {
    /// The kind without the reason.
    pub fn kind(&self) -> FindingKind {
        match self {
            Self::PendingClaim(_) => FindingKind::PendingClaim,
            Self::FailedSnapshot(_) => FindingKind::FailedSnapshot,
            Self::DeletionStuck(_) => FindingKind::DeletionStuck,
            Self::OrphanedSource(_) => FindingKind::OrphanedSource,
            Self::OperationLock(_) => FindingKind::OperationLock,
            Self::HeldSource => FindingKind::HeldSource,
        }
    }

    /// Name of the reason; a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PendingClaim(reason) => reason.as_str(),
            Self::FailedSnapshot(reason) => reason.as_str(),
            Self::DeletionStuck(reason) => reason.as_str(),
            Self::OrphanedSource(reason) => reason.as_str(),
            Self::OperationLock(key) => lock::operation(key),
            Self::HeldSource => "held",
        }
    }

    /// Every kind with each of its reasons.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        let claims = ClaimReason::ALL.iter().map(|r| Self::PendingClaim(*r));
        let snapshots = SnapshotReason::ALL.iter().map(|r| Self::FailedSnapshot(*r));
        let deletions = DeletionReason::ALL.iter().map(|r| Self::DeletionStuck(*r));
        let sources = SourceReason::ALL.iter().map(|r| Self::OrphanedSource(*r));
        claims
            .chain(snapshots)
            .chain(deletions)
            .chain(sources)
            .chain([Self::HeldSource])
            .map(|what| (what.kind().as_str(), what.reason()))
            .chain(lock::OPERATIONS.map(|operation| ("operation_lock", operation)))
    }

    /// Whether it means that something is stuck. A hold is locksmith's own doing.
    pub fn is_stuck(&self) -> bool {
        !matches!(self, Self::HeldSource)
    }
}

reasons! {
    /// Why a claim is Pending.
    ClaimReason {
        /// The driver refuses because another operation holds the lock.
        OperationLock = "operation_lock",
        /// The snapshot it restores from is not ready.
        SnapshotNotReady = "snapshot_not_ready",
        /// The snapshot it restores from does not exist.
        SnapshotMissing = "snapshot_missing",
        /// Its populator has no image to fill it from yet, or has not started.
        AwaitingPopulator = "awaiting_populator",
        /// The provisioner reports another error.
        ProvisioningError = "provisioning_error",
        /// No error was reported.
        Unknown = "unknown",
    }
}

reasons! {
    /// Why a snapshot is not ready.
    SnapshotReason {
        /// The driver refuses because another operation holds the lock.
        OperationLock = "operation_lock",
        /// The driver did not answer in time.
        Timeout = "timeout",
        /// No sidecar processes it, so a restart would not help.
        SnapshotterAbsent = "snapshotter_absent",
        /// The leading sidecar processes no snapshot at all, so neither a restart nor a deletion would help.
        SnapshotterIdle = "snapshotter_idle",
        /// Its claim, or the storage volume of the claim, does not exist; a deleted snapshot would only be created again.
        SourceMissing = "source_missing",
        /// Its claim has no volume yet: a symptom of the claim.
        SourceUnbound = "source_unbound",
        /// The driver has accepted it and is still processing it; a deletion would discard that work.
        Processing = "processing",
        /// Any other error.
        Other = "other",
    }
}

impl SnapshotReason {
    /// The reason that neither a restart nor a deletion helps, or `None` if one may help.
    pub fn beyond_repair(self) -> Option<SkipReason> {
        match self {
            Self::OperationLock | Self::Timeout | Self::Other => None,
            Self::SnapshotterAbsent => Some(SkipReason::SnapshotterAbsent),
            Self::SnapshotterIdle => Some(SkipReason::SnapshotterIdle),
            Self::SourceMissing => Some(SkipReason::SourceMissing),
            Self::SourceUnbound => Some(SkipReason::SourceUnbound),
            Self::Processing => Some(SkipReason::Processing),
        }
    }
}

reasons! {
    /// Why a deletion is stuck.
    DeletionReason {
        /// The driver refuses because another operation holds the lock.
        OperationLock = "operation_lock",
        /// A sidecar is still creating the snapshot, or has lost track of it.
        BeingCreated = "being_created",
        /// A Pending claim is restored from it.
        InUse = "in_use",
        /// Another tool's finalizer blocks it.
        Finalizer = "finalizer",
        /// Anything else, such as a driver that fails to delete it.
        Other = "other",
    }
}

reasons! {
    /// Why a source is orphaned.
    SourceReason {
        /// Its claim does not exist.
        ClaimMissing = "claim_missing",
        /// Its claim is being deleted, and blocked by a finalizer.
        ClaimTerminating = "claim_terminating",
    }
}

/// Every finding in `model` at `now`, by kind, namespace and name.
pub fn detect(model: &Model, settings: &DetectionSettings, now: Timestamp) -> Vec<Finding> {
    detect_with_forming(model, settings, now).0
}

/// The findings as [`detect`] returns them, and the locks that are forming, by driver.
pub fn detect_with_forming(
    model: &Model,
    settings: &DetectionSettings,
    now: Timestamp,
) -> (Vec<Finding>, Vec<FormingLocks>) {
    let (locks, forming) = lock::detect(model, settings, now);
    let mut findings = Vec::with_capacity(locks.len());
    let locked = Locks::of(&locks);
    findings.extend(claim::detect(model, settings, &locked, now));
    findings.extend(snapshot::detect(model, settings, &locked, now));
    findings.extend(deletion::detect(model, settings, &locked, now));
    findings.extend(source::detect(model, settings, now));
    findings.extend(locks);
    findings.sort_by(|a, b| {
        (a.what.kind().as_str(), &a.object, a.since).cmp(&(
            b.what.kind().as_str(),
            &b.object,
            b.since,
        ))
    });
    (findings, forming)
}

/// The next time at which a finding may appear, or a hold end, without a change of the model. Until then, the findings that
/// [`detect`] returns only age.
pub fn next_due(model: &Model, settings: &DetectionSettings, now: Timestamp) -> Option<Timestamp> {
    // A threshold must be exceeded, so the next check is one nanosecond later.
    let passed = |due: Timestamp| due.checked_add(SignedDuration::from_nanos(1)).ok();
    claim::dues(model, settings)
        .chain(snapshot::dues(model, settings))
        .chain(deletion::dues(model, settings))
        .chain(source::dues(model, settings))
        .chain(lock::dues(model, settings))
        .filter(|due| *due >= now)
        .min()
        .and_then(passed)
}

impl Finding {
    /// Whether the finding is about this object.
    pub fn is_about(&self, kind: ObjectKind, uid: &Uid) -> bool {
        self.object
            .as_ref()
            .is_some_and(|object| object.kind == kind && object.uid == *uid)
    }
}

/// Found locks, by the operation that they block.
struct Locks<'f> {
    by_key: HashMap<&'f str, &'f Finding>,
    /// Locks that block the creation of an object, by the object's uid.
    making: HashMap<&'f Uid, &'f Finding>,
}

impl<'f> Locks<'f> {
    fn of(findings: &'f [Finding]) -> Self {
        let mut locks = Self {
            by_key: HashMap::new(),
            making: HashMap::new(),
        };
        for lock in findings {
            let FindingReason::OperationLock(key) = &lock.what else {
                continue;
            };
            locks.by_key.insert(&key.0, lock);
            if let Some(object) = &lock.object
                && [key.claim(), key.snapshot()]
                    .into_iter()
                    .flatten()
                    .any(|uid| object.uid.is_meant_by(uid))
            {
                locks.making.insert(&object.uid, lock);
            }
        }
        locks
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The lock on `key`.
    fn on(&self, key: &str) -> Option<&'f Finding> {
        self.by_key.get(key).copied()
    }

    /// The lock that blocks the creation of a claim's volume, or of a snapshot.
    fn on_making(&self, uid: &Uid) -> Option<&'f Finding> {
        self.making.get(uid).copied()
    }
}
