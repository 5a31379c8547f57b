//! One small record per object, with only the fields that findings, plans and gates read.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::Timestamp;

use super::table::NO_NAMESPACE;
use super::{Interner, Record, UnixSeconds};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use crate::config::WorkloadKind;
use crate::csi::ErrorClass;

/// Fields of every record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: SharedStr,
    /// Name.
    pub name: SharedStr,
    /// Uid.
    pub uid: Uid,
    /// Creation time (`metadata.creationTimestamp`).
    pub created: UnixSeconds,
    /// Time of the request to delete it (`metadata.deletionTimestamp`).
    pub deleting: Option<UnixSeconds>,
    /// Whether it carries the opt-out label: it is shown, but never changed.
    pub opted_out: bool,
}

impl Meta {
    /// The object's full identity.
    pub fn key(&self, kind: ObjectKind) -> ObjectKey {
        ObjectKey {
            kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Identity.
    pub meta: Meta,
    /// `status.phase`.
    pub phase: ClaimPhase,
    /// `spec.storageClassName`.
    pub class: Option<SharedStr>,
    /// Whether `spec.volumeName` is set.
    pub names_volume: bool,
    /// `spec.resources.requests.storage`, in bytes.
    pub requested: u64,
    /// Whether the scheduler has chosen a node (annotation `volume.kubernetes.io/selected-node`).
    pub node_selected: bool,
    /// Driver that is requested to provision it (annotation `volume.kubernetes.io/storage-provisioner`).
    pub provisioner: Option<SharedStr>,
    /// `spec.dataSourceRef`, else `spec.dataSource`.
    pub data_source: Option<DataSource>,
}

/// `status.phase` of a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimPhase {
    /// No volume yet.
    Pending,
    /// Has its volume.
    Bound,
    /// Lost its volume.
    Lost,
}

/// The data source of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DataSource {
    /// A VolumeSnapshot of the same namespace.
    Snapshot(SharedStr),
    /// A VolumeSnapshot of another namespace (`dataSourceRef.namespace`, KEP-3294).
    ForeignSnapshot {
        /// Namespace of the snapshot.
        namespace: SharedStr,
        /// Its name.
        name: SharedStr,
    },
    /// Another claim of the same namespace.
    Claim(SharedStr),
    /// A ReplicationDestination: VolSync's populator fills the claim through another one, `vs-prime-<uid>`.
    Destination(SharedStr),
    /// An unknown populator.
    Other,
}

/// A PersistentVolume of a CSI driver.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Name.
    pub name: SharedStr,
    /// CSI driver.
    pub driver: SharedStr,
    /// Creation time.
    pub created: UnixSeconds,
}

/// A VolumeSnapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Identity.
    pub meta: Meta,
    /// Source claim; `None` for a pre-provisioned snapshot.
    pub source_claim: Option<SharedStr>,
    /// `spec.volumeSnapshotClassName`.
    pub class: Option<SharedStr>,
    /// `status.readyToUse`.
    pub ready: Option<bool>,
    /// `status.boundVolumeSnapshotContentName`, if it is not [`Snapshot::given_content`].
    pub content: Option<SharedStr>,
    /// `status.restoreSize`, in bytes; drivers that do not know it report 0 or nothing.
    pub restore_size: Option<NonZeroU64>,
    /// `status.error`.
    pub error: Option<Box<StatusError>>,
    /// Uid of the ReplicationSource that controls it.
    pub source: Option<Uid>,
    /// Whether it carries VolSync's label.
    pub by_volsync: bool,
    /// Why it must not be deleted, judged by the object alone.
    pub protection: Option<Protection>,
}

impl Snapshot {
    /// Stuck storage in bytes: the restore size or, if unknown, the request of the claim.
    pub fn bytes(&self, claim: Option<&Claim>) -> u64 {
        self.restore_size
            .map(NonZeroU64::get)
            .or(claim.map(|claim| claim.requested))
            .unwrap_or(0)
    }

    /// Default name of the content of a snapshot with this uid (external-snapshotter, pkg/utils/util.go).
    pub fn given_content(uid: &Uid) -> String {
        format!("snapcontent-{uid}")
    }
}

/// Why a snapshot must not be deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// Label `volsync.backube/do-not-delete`.
    DoNotDelete,
    /// Label `volsync.backube/volpop-pvc-*`: the populator restores from it.
    Populating,
    /// Member of a group snapshot.
    Group,
    /// A finalizer of neither the snapshot controller nor the provisioner, which would keep it Terminating.
    Finalizer,
}

/// An error in a status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusError {
    /// First occurrence of exactly this message.
    pub since: Timestamp,
    /// The class of the message.
    pub class: ErrorClass,
    /// The message, shortened; evidence, never a label.
    pub message: Arc<str>,
}

/// A VolumeSnapshotContent.
#[derive(Clone, Debug)]
pub struct Content {
    /// Identity.
    pub meta: Meta,
    /// CSI driver.
    pub driver: SharedStr,
    /// Uid of the VolumeSnapshot it belongs to.
    pub snapshot: Option<Uid>,
    /// Whether the storage snapshot is deleted with it (`deletionPolicy: Delete`).
    pub deletes: bool,
    /// CSI handle of the source volume.
    pub volume_handle: Option<SharedStr>,
    /// CSI handle of the snapshot, once the driver accepted it.
    pub handle: Option<SharedStr>,
    /// Time at which the driver took the snapshot, or at which its sidecar wrote the status, if that is later: a call may take
    /// minutes after the storage has taken the snapshot.
    pub taken: Option<UnixSeconds>,
    /// The run that last annotated it to continue its deletion (annotation [`crate::api::TOUCHED_ANNOTATION`]).
    pub touched_by: Option<SharedStr>,
    /// Whether a sidecar has written any status.
    pub seen_by_sidecar: bool,
    /// Whether a sidecar may still be creating the snapshot (annotation `volumesnapshot-being-created`). Until then it does
    /// not delete the snapshot.
    pub being_created: bool,
    /// `status.error`.
    pub error: Option<Box<StatusError>>,
}

/// A VolumeSnapshotClass.
#[derive(Clone, Debug)]
pub struct SnapshotClass {
    /// Name.
    pub name: SharedStr,
    /// CSI driver.
    pub driver: SharedStr,
}

/// A StorageClass.
#[derive(Clone, Debug)]
pub struct StorageClass {
    /// Name.
    pub name: SharedStr,
    /// CSI driver.
    pub provisioner: SharedStr,
    /// Whether its binding mode is WaitForFirstConsumer.
    pub waits_for_consumer: bool,
}

/// A ReplicationSource.
#[derive(Clone, Debug)]
pub struct Source {
    /// Identity.
    pub meta: Meta,
    /// `spec.sourcePVC`, if not empty.
    pub claim: Option<SharedStr>,
    /// Mover.
    pub mover: Mover,
    /// Whether a sync creates a snapshot or clone of the claim.
    pub copies: bool,
    /// StorageClass of the mover's temporary claim, if the source sets one.
    pub storage_class: Option<SharedStr>,
    /// VolumeSnapshotClass of its snapshots, if the source sets one.
    pub snapshot_class: Option<SharedStr>,
    /// Start of the current sync.
    pub syncing: Option<Timestamp>,
    /// The tool that, by its labels, re-creates this object from Git.
    pub gitops: Option<GitOps>,
}

/// The mover of a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mover {
    /// restic, rclone, rsync or rsync-TLS: `paused` suspends their Job.
    Job,
    /// kopia, in the fork: treats `paused` as a completed backup.
    Kopia,
    /// syncthing: ignores `paused`, makes no snapshots.
    Syncthing,
    /// Outside VolSync.
    External,
    /// Unknown.
    Unknown,
}

/// A tool that re-creates deleted objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GitOps {
    /// Flux.
    Flux,
    /// Argo CD.
    Argo,
    /// Argo CD up to 2.x by default, or Helm: both set this label, and both re-create the objects of their source.
    InstanceLabel,
}

/// A ReplicationDestination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Identity.
    pub meta: Meta,
    /// Name of the VolumeSnapshot in `status.latestImage`.
    pub latest_image: Option<SharedStr>,
}

/// A Pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Identity.
    pub meta: Meta,
    /// Whether `status.phase` is Running.
    pub running: bool,
    /// Whether condition Ready is True.
    pub ready: bool,
    /// Whether its phase is Succeeded or Failed.
    pub finished: bool,
    /// Names of the mounted claims.
    pub claims: Box<[SharedStr]>,
    /// Fields that identify a provisioner; `None` for a pod without a provisioner's or snapshotter's sidecar.
    pub sidecars: Option<Box<Sidecars>>,
    /// Kind and name of its controller.
    pub controller: Option<(SharedStr, SharedStr)>,
    /// Label `pod-template-hash`.
    pub template_hash: Option<SharedStr>,
}

impl Pod {
    /// Whether its deletion was requested and its node reports it as finished: a terminal phase, with every container
    /// terminated. Kubelets set that phase since Kubernetes 1.27, before they remove the object; older ones never do.
    pub fn is_over(&self) -> bool {
        let ended = |sidecars: &Sidecars| sidecars.ended;
        self.finished && self.meta.deleting.is_some() && self.sidecars.as_deref().is_some_and(ended)
    }
}

/// Fields of a pod that decide which driver it serves, and under which identity it holds a lease.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    /// Names of its containers.
    pub containers: Box<[SharedStr]>,
    /// The driver in an argument of one of its containers, such as `--drivername=…`.
    pub driver: Option<SharedStr>,
    /// `spec.hostname`; if unset, the pod's name is its host name.
    pub hostname: Option<SharedStr>,
    /// `spec.nodeName`.
    pub node: Option<SharedStr>,
    /// `spec.hostNetwork`: its host name is the node's.
    pub host_network: bool,
    /// Whether its deletion was requested, and its node has reported every container as terminated since.
    pub ended: bool,
}

impl Sidecars {
    /// Whether it runs external-provisioner: `csi-provisioner`, or `external-provisioner` in democratic-csi.
    pub fn provisions(&self) -> bool {
        self.runs(["csi-provisioner", "external-provisioner"])
    }

    /// Whether it runs csi-snapshotter: also `external-snapshotter` (democratic-csi) or `ex-csi-snapshotter`
    /// (ceph-csi-operator, CephFS).
    pub fn snapshots(&self) -> bool {
        self.runs(["csi-snapshotter", "external-snapshotter"])
    }

    fn runs(&self, names: [&str; 2]) -> bool {
        self.containers
            .iter()
            .any(|container| names.iter().any(|name| container.ends_with(name)))
    }
}

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Identity.
    pub meta: Meta,
    /// Its kind.
    pub kind: WorkloadKind,
    /// `spec.replicas`; for a DaemonSet, `status.desiredNumberScheduled`.
    pub replicas: i32,
    /// Kind and API group of its controller, if it has one.
    pub controller: Option<(SharedStr, SharedStr)>,
    /// Id of the last restart by locksmith (annotation on the pod template).
    pub restarted_by: Option<SharedStr>,
}

impl Workload {
    /// The object's full identity.
    pub fn key(&self) -> ObjectKey {
        self.meta.key(self.kind.object_kind())
    }
}

/// A Lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Namespace.
    pub namespace: SharedStr,
    /// Name.
    pub name: SharedStr,
    /// Uid.
    pub uid: Uid,
    /// `spec.holderIdentity`.
    pub holder: Option<SharedStr>,
    /// `spec.acquireTime`.
    pub acquired: Option<Timestamp>,
    /// `spec.renewTime`.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseDurationSeconds`.
    pub seconds: i32,
}

/// A Node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name.
    pub name: SharedStr,
    /// Whether condition Ready is True.
    pub ready: bool,
}

/// A Namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Name.
    pub name: SharedStr,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it carries the opt-out label.
    pub opted_out: bool,
    /// Whether it carries the kill switch.
    pub stopped: bool,
}

/// A CephCluster of Rook.
#[derive(Clone, Debug)]
pub struct CephCluster {
    /// Namespace.
    pub namespace: SharedStr,
    /// Name.
    pub name: SharedStr,
    /// `status.ceph.health`, such as `HEALTH_OK`; `None` until Rook has written it.
    pub health: Option<SharedStr>,
}

/// A Remediation. Its status is read from the object, which is kept whole.
#[derive(Clone, Debug)]
pub struct Run {
    /// Identity.
    pub meta: Meta,
    /// The object.
    pub object: Arc<crate::api::remediation::Remediation>,
}

/// A SnapshotHold: while it exists and its deadline has not passed, the API server refuses snapshots of its sources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotHold {
    /// Identity.
    pub meta: Meta,
    /// The run that owns it; `None` for a planned hold, which a person ends.
    pub run: Option<RunRef>,
    /// The person who created it.
    pub held_by: Option<SharedStr>,
    /// The reason that person gave.
    pub reason: Option<SharedStr>,
    /// When the API server ends the hold.
    pub until: Timestamp,
    /// The held ReplicationSources by uid: namespace and name.
    pub sources: BTreeMap<Uid, (SharedStr, SharedStr)>,
    /// VolumeSnapshotClasses whose snapshots are refused.
    pub snapshot_classes: Box<[SharedStr]>,
}

/// The run that owns a hold.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RunRef {
    /// Namespace of the Remediation.
    pub namespace: SharedStr,
    /// Name of the Remediation.
    pub name: SharedStr,
    /// Uid of the Remediation.
    pub uid: Uid,
}

/// The ValidatingAdmissionPolicy that enforces SnapshotHolds, compared with the released one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldPolicy {
    /// Name.
    pub name: SharedStr,
    /// Difference from the released policy; `None` if there is none.
    pub difference: Option<Arc<str>>,
}

/// The binding of that policy, compared with the released one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldBinding {
    /// Name.
    pub name: SharedStr,
    /// The namespace whose SnapshotHolds count (`spec.paramRef.namespace`).
    pub namespace: SharedStr,
    /// Difference from the released binding, apart from that namespace; `None` if there is none.
    pub difference: Option<Arc<str>>,
}

/// Implements [`Record`] for a kind: its name, and the given optional parts.
macro_rules! filed_under_meta {
    ($($record:ty { $($part:item)* })+) => {$(
        impl Record for $record {
            fn name(&self) -> (&SharedStr, &SharedStr) {
                (&self.meta.namespace, &self.meta.name)
            }
            $($part)*
        }
    )+};
}
filed_under_meta!(
    Claim {
        fn needs_attention(&self) -> bool {
            self.phase != ClaimPhase::Bound || self.meta.deleting.is_some()
        }
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.meta.namespace);
            names.share_some(&mut self.class);
            names.share_some(&mut self.provisioner);
        }
    }
    Snapshot {
        fn needs_attention(&self) -> bool {
            self.ready != Some(true) || self.meta.deleting.is_some()
        }
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.meta.namespace);
            names.share_some(&mut self.class);
        }
    }
    Content {
        fn needs_attention(&self) -> bool {
            self.handle.is_none() || self.error.is_some() || self.meta.deleting.is_some()
        }
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.meta.namespace);
            names.share(&mut self.driver);
        }
    }
    Source {
        fn claim(&self) -> Option<&SharedStr> {
            self.claim.as_ref()
        }
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.meta.namespace);
            names.share_some(&mut self.storage_class);
            names.share_some(&mut self.snapshot_class);
        }
    }
    Destination {}
    Pod {
        /// Pods that may be a provisioner's. There are few, and every search for a provisioner reads them.
        fn needs_attention(&self) -> bool {
            self.sidecars.is_some()
        }
    }
    Workload {}
    Run {}
    SnapshotHold {}
);

macro_rules! filed_under_name {
    ($($record:ty { $($part:item)* })+) => {$(
        impl Record for $record {
            $($part)*
            fn name(&self) -> (&SharedStr, &SharedStr) {
                (&NO_NAMESPACE, &self.name)
            }
        }
    )+};
}
filed_under_name!(
    Volume {
        fn share(&mut self, names: &mut Interner) {
            names.share(&mut self.driver);
        }
    }
    SnapshotClass {}
    StorageClass {}
    Node {}
    Namespace {}
    HoldPolicy {}
    HoldBinding {}
);

impl Record for CephCluster {
    fn name(&self) -> (&SharedStr, &SharedStr) {
        (&self.namespace, &self.name)
    }
}

impl Record for Lease {
    fn name(&self) -> (&SharedStr, &SharedStr) {
        (&self.namespace, &self.name)
    }
}
