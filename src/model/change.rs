//! Changes of a model: watch events, refusals, and answers to look-ups.

use jiff::Timestamp;

use super::records::{
    CephCluster, Claim, Content, Destination, HoldBinding, HoldPolicy, Lease, Namespace, Node, Pod,
    Run, Snapshot, SnapshotClass, SnapshotHold, Source, StorageClass, Volume, Workload,
};
use super::{Answer, Creation, Kind, Model, ProvisioningError, Refusal, WatchState};
use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};

/// One event of a watch, in the words of kube's `watcher::Event`.
#[derive(Debug)]
pub enum Delta<T> {
    /// A list begins. An object that has not appeared by [`Delta::InitDone`] is gone.
    Init,
    /// An object was created or changed.
    Apply(T),
    /// An object was deleted.
    Delete {
        /// Namespace, empty for cluster-scoped kinds.
        namespace: SharedStr,
        /// Name.
        name: SharedStr,
    },
    /// The list that began with [`Delta::Init`] is complete.
    InitDone,
}

/// One observation.
#[derive(Debug)]
pub enum Change {
    /// PersistentVolumeClaims.
    Claim(Delta<Claim>),
    /// PersistentVolumes.
    Volume(Delta<Volume>),
    /// VolumeSnapshots.
    Snapshot(Delta<Snapshot>),
    /// VolumeSnapshotContents.
    Content(Delta<Content>),
    /// VolumeSnapshotClasses.
    SnapshotClass(Delta<SnapshotClass>),
    /// StorageClasses.
    StorageClass(Delta<StorageClass>),
    /// ReplicationSources.
    Source(Delta<Source>),
    /// ReplicationDestinations.
    Destination(Delta<Destination>),
    /// Pods.
    Pod(Delta<Pod>),
    /// Deployments.
    Deployment(Delta<Workload>),
    /// StatefulSets.
    StatefulSet(Delta<Workload>),
    /// DaemonSets.
    DaemonSet(Delta<Workload>),
    /// Nodes.
    Node(Delta<Node>),
    /// Leases.
    Lease(Delta<Lease>),
    /// Namespaces.
    Namespace(Delta<Namespace>),
    /// CephClusters.
    CephCluster(Delta<CephCluster>),
    /// Remediations.
    Run(Delta<Run>),
    /// SnapshotHolds.
    SnapshotHold(Delta<SnapshotHold>),
    /// The ValidatingAdmissionPolicy that enforces SnapshotHolds.
    HoldPolicy(Delta<HoldPolicy>),
    /// The binding of that policy.
    HoldBinding(Delta<HoldBinding>),
    /// An operation was refused because another holds its lock.
    Refused(Refusal),
    /// Result of opening the log of a provisioner's pod for a driver; `None` once it is no longer followed.
    LogRead(Uid, SharedStr, Option<Result<(), SharedStr>>),
    /// An Event reports that a claim could not be provisioned.
    ProvisioningFailed(ObjectKey, ProvisioningError),
    /// Result of an uncached GET of a claim.
    ClaimLookedUp {
        /// Namespace.
        namespace: SharedStr,
        /// Name.
        name: SharedStr,
        /// Whether the API server answered 404.
        missing: bool,
        /// Time of the answer.
        at: Timestamp,
    },
    /// Prometheus's answer to an expression, or the error.
    Answered(String, Answer),
    /// The term in which this replica leads, or `None` if it does not lead.
    Leads(Option<i32>),
    /// No change.
    Nothing,
    /// The state of a watch has changed.
    Read(Kind, WatchState, Timestamp),
}

impl Model {
    /// Applies one observation.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Claim(delta) => {
                // The claim exists, so earlier 404s no longer count.
                if let Delta::Apply(claim) = &delta {
                    let meta = &claim.meta;
                    self.absences
                        .not_missing(meta.namespace.clone(), meta.name.clone());
                }
                self.claims.apply(delta);
            }
            Change::Volume(delta) => {
                if let Delta::Apply(volume) = &delta {
                    self.note_volume(volume);
                }
                self.volumes.apply(delta);
            }
            Change::Snapshot(delta) => self.snapshots.apply(delta),
            Change::Content(delta) => {
                if let Delta::Apply(content) = &delta {
                    self.note_snapshot(content);
                }
                self.contents.apply(delta);
            }
            Change::SnapshotClass(delta) => self.snapshot_classes.apply(delta),
            Change::StorageClass(delta) => self.storage_classes.apply(delta),
            Change::Source(delta) => self.sources.apply(delta),
            Change::Destination(delta) => self.destinations.apply(delta),
            Change::Pod(delta) => {
                let going: Vec<&Pod> = match &delta {
                    Delta::Delete { namespace, name } => {
                        self.pods.get(namespace, name).into_iter().collect()
                    }
                    Delta::InitDone => self.pods.unmentioned().collect(),
                    Delta::Init | Delta::Apply(_) => Vec::new(),
                };
                for pod in going {
                    if self.discovery.covers(&pod.meta.namespace) {
                        self.departures.note(pod);
                    }
                }
                self.pods.apply(delta);
            }
            Change::Node(delta) => self.nodes.apply(delta),
            Change::Deployment(delta) => self.deployments.apply(delta),
            Change::StatefulSet(delta) => self.stateful_sets.apply(delta),
            Change::DaemonSet(delta) => self.daemon_sets.apply(delta),
            Change::Lease(delta) => self.leases.apply(delta),
            Change::Namespace(delta) => self.namespaces.apply(delta),
            Change::CephCluster(delta) => self.ceph_clusters.apply(delta),
            Change::Run(delta) => self.runs.apply(delta),
            Change::SnapshotHold(delta) => self.holds.apply(delta),
            Change::HoldPolicy(delta) => self.hold_policies.apply(delta),
            Change::HoldBinding(delta) => self.hold_bindings.apply(delta),
            Change::Refused(refusal) => self.refusals.note(refusal),
            Change::LogRead(pod, driver, Some(reading)) => {
                self.logs.insert((pod, driver), reading);
            }
            Change::LogRead(pod, driver, None) => {
                self.logs.remove(&(pod, driver));
            }
            Change::ProvisioningFailed(claim, error) => self.provisioning_errors.note(claim, error),
            Change::ClaimLookedUp {
                namespace,
                name,
                missing,
                at,
            } => {
                // The 404 may be older than a claim that the watch shows by now.
                if missing && self.claims.get(&namespace, &name).is_none() {
                    self.absences.missing(namespace, name, at);
                } else {
                    self.absences.not_missing(namespace, name);
                }
            }
            Change::Answered(expression, answer) => {
                self.answers.insert(expression, answer);
            }
            Change::Leads(term) => self.term = term,
            Change::Nothing => {}
            Change::Read(kind, reading, at) => self.freshness.note(kind, reading, at),
        }
    }

    fn note_volume(&mut self, volume: &Volume) {
        let creation = Creation {
            at: volume.created,
            kind: ObjectKind::PersistentVolume,
            name: volume.name.clone(),
        };
        self.creations.note(&volume.driver, creation);
    }

    fn note_snapshot(&mut self, content: &Content) {
        let Some(at) = content.taken else { return };
        let creation = Creation {
            at,
            kind: ObjectKind::VolumeSnapshotContent,
            name: content.meta.name.clone(),
        };
        self.creations.note(&content.driver, creation);
    }
}
