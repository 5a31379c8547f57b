//! The model of the cluster: [`Change`]s in, a [`Model`] out. Pure.
//!
//! One task owns the model and applies every watch event, log line and Kubernetes Event to it. Records hold only the fields that
//! findings, plans and gates read; repeated names are shared. Each table indexes the records that need attention, so detection
//! cost scales with problems, not with cluster size.
//!
//! ```text
//! ReplicationSource ──sourcePVC──► PersistentVolumeClaim
//!        ▲ controller                      ▲ source, restore
//!   VolumeSnapshot ────────────────────────┘
//!        │ bound content
//!   VolumeSnapshotContent (handles) ◄─── lock key ───► uid of a claim or a snapshot
//! ```

mod absences;
mod change;
mod creations;
mod departures;
#[cfg(test)]
pub(crate) mod fixture;
mod freshness;
mod kind;
mod provisioner;
mod provisioning_errors;
pub mod records;
mod refusals;
mod table;
mod unix_seconds;

pub use absences::{Absence, Absences};
pub use change::{Change, Delta};
pub use creations::{Creation, Creations};
pub use departures::{Departure, Departures};
pub use freshness::{CLOCK_TOLERANCE, Freshness, WatchState};
pub use kind::Kind;
pub use provisioner::{
    Discovery, Provisioner, ProvisionerNotFound, Replica, is_random_identity, lease_names,
};
pub use provisioning_errors::{ProvisioningError, ProvisioningErrors};
pub use refusals::{Refusal, Refusals, Sighting, Witness};
#[cfg(test)]
pub use table::rows_read;
pub use table::{Interner, Record, Table};
pub use unix_seconds::UnixSeconds;

use crate::api::{ObjectKey, ObjectKind, SharedStr, Uid};
use records::{
    CephCluster, Claim, Content, Destination, HoldBinding, HoldPolicy, Lease, Namespace, Node, Pod,
    Run, Snapshot, SnapshotClass, SnapshotHold, Source, StorageClass, Volume, Workload,
};

/// The known state of the cluster, in plain tables. Only [`Model::apply`] changes it.
#[derive(Debug, Default)]
pub struct Model {
    /// Where provisioners are searched.
    pub discovery: Discovery,
    /// PersistentVolumeClaims.
    pub claims: Table<Claim>,
    /// PersistentVolumes made by a CSI driver.
    pub volumes: Table<Volume>,
    /// VolumeSnapshots.
    pub snapshots: Table<Snapshot>,
    /// VolumeSnapshotContents.
    pub contents: Table<Content>,
    /// VolumeSnapshotClasses.
    pub snapshot_classes: Table<SnapshotClass>,
    /// StorageClasses.
    pub storage_classes: Table<StorageClass>,
    /// ReplicationSources.
    pub sources: Table<Source>,
    /// ReplicationDestinations.
    pub destinations: Table<Destination>,
    /// Pods.
    pub pods: Table<Pod>,
    /// Deployments.
    pub deployments: Table<Workload>,
    /// StatefulSets.
    pub stateful_sets: Table<Workload>,
    /// DaemonSets.
    pub daemon_sets: Table<Workload>,
    /// Nodes.
    pub nodes: Table<Node>,
    /// Last known states of the deleted pods of provisioners.
    pub departures: Departures,
    /// Leases, other than those of nodes.
    pub leases: Table<Lease>,
    /// Namespaces.
    pub namespaces: Table<Namespace>,
    /// CephClusters, if the cluster has Rook.
    pub ceph_clusters: Table<CephCluster>,
    /// Remediations.
    pub runs: Table<Run>,
    /// SnapshotHolds.
    pub holds: Table<SnapshotHold>,
    /// The ValidatingAdmissionPolicy that enforces SnapshotHolds.
    pub hold_policies: Table<HoldPolicy>,
    /// The binding of that policy.
    pub hold_bindings: Table<HoldBinding>,
    /// Prometheus's answers, by expression.
    pub answers: std::collections::HashMap<String, Answer>,
    /// Latest volume or snapshot that each driver created.
    pub creations: Creations,
    /// Result of opening the log of each followed pod, by pod and driver: a pod may serve several drivers.
    pub logs: std::collections::HashMap<(Uid, SharedStr), Result<(), SharedStr>>,
    /// Refused operations, by driver and key.
    pub refusals: Refusals,
    /// Claims for which the API server answered 404.
    pub absences: Absences,
    /// Claims that could not be provisioned.
    pub provisioning_errors: ProvisioningErrors,
    /// The term in which this replica leads; `None` while it does not.
    pub term: Option<i32>,
    /// State of every watch, which shows how far the tables can be trusted.
    pub freshness: Freshness,
}

/// Prometheus's answer to an expression.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Time of the query.
    pub at: jiff::Timestamp,
    /// Number of returned series, or the error.
    pub series: Result<usize, String>,
}

impl Model {
    /// Drops outdated data: series that have ended, errors of claims that are gone or Bound, absences of claims that no
    /// source names any more.
    pub fn forget(&mut self, now: jiff::Timestamp) {
        self.refusals.forget_ended(now);
        let sources = &self.sources;
        self.absences
            .retain(|namespace, name| sources.of_claim(namespace, name).next().is_some());
        if !self.provisioning_errors.is_empty() {
            let claims: std::collections::HashSet<ObjectKey> = self
                .claims
                .needs_attention()
                .map(|claim| claim.meta.key(ObjectKind::PersistentVolumeClaim))
                .collect();
            self.provisioning_errors
                .retain(|claim| claims.contains(claim));
        }
    }

    /// Whether a class of the cluster names `driver`. Other objects that name a driver may be a tenant's.
    pub fn has_class_of(&self, driver: &str) -> bool {
        let provisions = |class: &StorageClass| *class.provisioner == *driver;
        let snapshots = |class: &SnapshotClass| *class.driver == *driver;
        self.storage_classes.iter().any(provisions) || self.snapshot_classes.iter().any(snapshots)
    }

    /// Number of known objects per kind.
    pub fn object_counts(&self) -> std::collections::BTreeMap<Kind, usize> {
        [
            (Kind::PersistentVolumeClaims, self.claims.len()),
            (Kind::PersistentVolumes, self.volumes.len()),
            (Kind::VolumeSnapshots, self.snapshots.len()),
            (Kind::VolumeSnapshotContents, self.contents.len()),
            (Kind::ReplicationSources, self.sources.len()),
            (Kind::ReplicationDestinations, self.destinations.len()),
            (Kind::Remediations, self.runs.len()),
        ]
        .into()
    }

    /// Whether the object, or its namespace, carries the opt-out label.
    pub fn opted_out(&self, meta: &records::Meta) -> bool {
        meta.opted_out
            || self
                .namespaces
                .get_cluster(&meta.namespace)
                .is_some_and(|n| n.opted_out)
    }
}
