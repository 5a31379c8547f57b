//! One small record per object: the fields findings, plans and gates ask about, and no others.

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
    /// When it was created.
    pub created: UnixSeconds,
    /// When its deletion was asked for.
    pub deleting: Option<UnixSeconds>,
    /// Whether it carries the opt-out label: it is shown, and never touched.
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
    /// Driver asked to provision (annotation `volume.kubernetes.io/storage-provisioner`).
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

/// The source that a claim is filled from.
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
    /// A ReplicationDestination: VolSync's populator fills it by way of a claim `vs-prime-<uid>`.
    Destination(SharedStr),
    /// A populator this program knows nothing about.
    Other,
}

/// A PersistentVolume made by a CSI driver.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Name.
    pub name: SharedStr,
    /// CSI driver.
    pub driver: SharedStr,
    /// When it was made.
    pub created: UnixSeconds,
}

/// A VolumeSnapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Identity.
    pub meta: Meta,
    /// The claim it is of; `None` for a pre-provisioned one.
    pub source_claim: Option<SharedStr>,
    /// `spec.volumeSnapshotClassName`.
    pub class: Option<SharedStr>,
    /// `status.readyToUse`.
    pub ready: Option<bool>,
    /// `status.boundVolumeSnapshotContentName`, where it is not the one it is given.
    pub content: Option<SharedStr>,
    /// `status.restoreSize`, in bytes; a driver that does not know it says 0 or nothing.
    pub restore_size: Option<NonZeroU64>,
    /// `status.error`.
    pub error: Option<Box<StatusError>>,
    /// Uid of the ReplicationSource that controls it.
    pub source: Option<Uid>,
    /// Whether VolSync's label says that it made it.
    pub by_volsync: bool,
    /// Why it must not be deleted, as far as the object itself tells.
    pub protection: Option<Protection>,
}

impl Snapshot {
    /// Bytes of storage it stands for: what a restore takes or, where nobody knows, what its claim asks for.
    pub fn bytes(&self, claim: Option<&Claim>) -> u64 {
        self.restore_size
            .map(NonZeroU64::get)
            .or(claim.map(|claim| claim.requested))
            .unwrap_or(0)
    }

    /// Name of the content that is made for the snapshot of this uid, before it is bound (external-snapshotter,
    /// pkg/utils/util.go).
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
    /// A finalizer that is none of the snapshot controller's or the provisioner's: asked to go, it would stay.
    Finalizer,
}

/// An error as a status tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StatusError {
    /// First occurrence of this very message.
    pub since: Timestamp,
    /// The class of the message.
    pub nature: ErrorClass,
    /// The message, cut short; evidence, never a label.
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
    /// Whether the storage snapshot goes with it (`deletionPolicy: Delete`).
    pub deletes: bool,
    /// CSI handle of the volume it is taken of.
    pub volume_handle: Option<SharedStr>,
    /// CSI handle of the snapshot, once the driver accepted it.
    pub handle: Option<SharedStr>,
    /// When the driver took the snapshot.
    pub taken: Option<UnixSeconds>,
    /// The run that touched it last for its deletion to go on (annotation [`crate::api::TOUCHED_ANNOTATION`]).
    pub touched_by: Option<SharedStr>,
    /// Whether a sidecar has written any status.
    pub seen_by_sidecar: bool,
    /// Whether a sidecar may still be creating the snapshot (annotation `volumesnapshot-being-created`): it refuses to
    /// delete the snapshot until then.
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
    /// Whether it waits for the first consumer.
    pub waits_for_consumer: bool,
}

/// A ReplicationSource.
#[derive(Clone, Debug)]
pub struct Source {
    /// Identity.
    pub meta: Meta,
    /// `spec.sourcePVC`, when not empty.
    pub claim: Option<SharedStr>,
    /// Mover.
    pub mover: Mover,
    /// Whether a synchronisation makes a snapshot or clone of the claim.
    pub copies: bool,
    /// StorageClass of the mover's temporary claim, where the source names one.
    pub storage_class: Option<SharedStr>,
    /// VolumeSnapshotClass of its snapshots, where the source names one.
    pub snapshot_class: Option<SharedStr>,
    /// When the synchronisation now running began.
    pub syncing: Option<Timestamp>,
    /// The tool whose labels say that it re-creates this object from Git.
    pub gitops: Option<GitOps>,
}

/// The mover of a source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mover {
    /// restic, rclone, rsync or rsync-TLS: `paused` stops their Job.
    Job,
    /// kopia, of the fork: takes `paused` for a completed backup.
    Kopia,
    /// syncthing: ignores `paused`, makes no snapshots.
    Syncthing,
    /// Outside VolSync.
    External,
    /// None that is known.
    Unknown,
}

/// A tool that re-creates deleted objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GitOps {
    /// Flux.
    Flux,
    /// Argo CD.
    Argo,
    /// Argo CD up to 2.x by default, or Helm: both set this label, and both create again what their source names.
    InstanceLabel,
}

impl GitOps {
    /// The tool's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flux => "Flux",
            Self::Argo => "Argo CD",
            Self::InstanceLabel => "Argo CD or Helm (label app.kubernetes.io/instance)",
        }
    }
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
    /// `status.phase` is Running.
    pub running: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// Its phase is Succeeded or Failed: it will not run again.
    pub finished: bool,
    /// Names of the claims it mounts.
    pub claims: Box<[SharedStr]>,
    /// Fields by which a provisioner is found; `None` for a pod without a provisioner's or snapshotter's sidecar.
    pub sidecars: Option<Box<Sidecars>>,
    /// Its controller: kind and name.
    pub controller: Option<(SharedStr, SharedStr)>,
    /// Label `pod-template-hash`.
    pub template_hash: Option<SharedStr>,
}

impl Pod {
    /// Whether it was asked to go and its node reports it as ended for good: a terminal phase, with every container terminated.
    /// Kubelets set that phase since Kubernetes 1.27, before they remove the object; those of earlier ones never do.
    pub fn is_over(&self) -> bool {
        let ended = |sidecars: &Sidecars| sidecars.ended;
        self.finished && self.meta.deleting.is_some() && self.sidecars.as_deref().is_some_and(ended)
    }
}

/// The part of a pod that decides which driver it serves and under which identity it holds a lease.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    /// Names of all its containers.
    pub containers: Box<[SharedStr]>,
    /// The driver that an argument of one of its containers names, such as `--drivername=…`.
    pub driver: Option<SharedStr>,
    /// `spec.hostname`; where unset, the pod's name is its host name.
    pub hostname: Option<SharedStr>,
    /// `spec.nodeName`.
    pub node: Option<SharedStr>,
    /// `spec.hostNetwork`: its host name is the node's.
    pub host_network: bool,
    /// Whether it was asked to go, and its node has reported every container as terminated since.
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
    /// Which of the three it is.
    pub kind: WorkloadKind,
    /// `spec.replicas`; of a DaemonSet, `status.desiredNumberScheduled`.
    pub replicas: i32,
    /// Kind and API group of its controller, when it has one.
    pub controller: Option<(SharedStr, SharedStr)>,
    /// The restart it was last asked for by us (annotation on the pod template).
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
    /// Condition Ready is True.
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
    /// `status.ceph.health`, such as `HEALTH_OK`; `None` while Rook has not said.
    pub health: Option<SharedStr>,
}

/// A Remediation: its status is read whole where it matters, from the object itself.
#[derive(Clone, Debug)]
pub struct Run {
    /// Identity.
    pub meta: Meta,
    /// The object.
    pub object: Arc<crate::api::remediation::Remediation>,
}

/// A SnapshotHold: while it exists and is not past its deadline, the API server refuses snapshots of its sources.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotHold {
    /// Identity.
    pub meta: Meta,
    /// The run that owns it; `None` for a planned hold, which a person ends.
    pub run: Option<RunRef>,
    /// The person who made it.
    pub held_by: Option<SharedStr>,
    /// Why it was made.
    pub reason: Option<SharedStr>,
    /// When the API server stops refusing.
    pub until: Timestamp,
    /// The held ReplicationSources by uid: namespace and name.
    pub sources: BTreeMap<Uid, (SharedStr, SharedStr)>,
    /// VolumeSnapshotClasses of which no snapshot may be taken.
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

/// The ValidatingAdmissionPolicy that enforces SnapshotHolds, compared with the one that ships.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldPolicy {
    /// Name.
    pub name: SharedStr,
    /// How it differs from the one that ships; `None` where it does not.
    pub difference: Option<Arc<str>>,
}

/// The binding of that policy, compared with the one that ships.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HoldBinding {
    /// Name.
    pub name: SharedStr,
    /// The namespace whose SnapshotHolds count (`spec.paramRef.namespace`).
    pub namespace: SharedStr,
    /// How it differs, other than in that namespace, from the one that ships; `None` where it does not.
    pub difference: Option<Arc<str>>,
}

/// The parts of [`Record`] a kind has beside its name.
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
        /// Those of a provisioner, maybe: there are few, and every question about provisioners is about them.
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
