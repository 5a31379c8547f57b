//! The inputs of the model.

use schemars::JsonSchema;
use serde::Serialize;

/// The watched collections, and other inputs.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// PersistentVolumeClaims.
    PersistentVolumeClaims,
    /// PersistentVolumes.
    PersistentVolumes,
    /// VolumeSnapshots.
    VolumeSnapshots,
    /// VolumeSnapshotContents.
    VolumeSnapshotContents,
    /// VolumeSnapshotClasses.
    VolumeSnapshotClasses,
    /// StorageClasses.
    StorageClasses,
    /// ReplicationSources.
    ReplicationSources,
    /// ReplicationDestinations.
    ReplicationDestinations,
    /// Pods.
    Pods,
    /// Deployments.
    Deployments,
    /// StatefulSets.
    StatefulSets,
    /// DaemonSets.
    DaemonSets,
    /// Leases.
    Leases,
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// CephClusters.
    CephClusters,
    /// Remediations.
    Remediations,
    /// SnapshotHolds.
    SnapshotHolds,
    /// The ValidatingAdmissionPolicy that enforces SnapshotHolds.
    HoldPolicy,
    /// The binding of that policy.
    HoldBinding,
    /// Kubernetes Events about claims and contents.
    Events,
    /// The CustomResourceDefinitions of Remediations and SnapshotHolds, compared with this program's: an older definition
    /// drops fields that a run records.
    Definitions,
    /// This machine's clock, compared with the API server's: if they differ, ages are unknown.
    Clock,
}

impl Kind {
    /// Every kind, in display order.
    pub const ALL: [Self; 23] = [
        Self::PersistentVolumeClaims,
        Self::PersistentVolumes,
        Self::VolumeSnapshots,
        Self::VolumeSnapshotContents,
        Self::VolumeSnapshotClasses,
        Self::StorageClasses,
        Self::ReplicationSources,
        Self::ReplicationDestinations,
        Self::Pods,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::Leases,
        Self::Nodes,
        Self::Namespaces,
        Self::CephClusters,
        Self::Remediations,
        Self::SnapshotHolds,
        Self::HoldPolicy,
        Self::HoldBinding,
        Self::Events,
        Self::Definitions,
        Self::Clock,
    ];

    /// The kind as the API spells its collection; a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersistentVolumeClaims => "persistentvolumeclaims",
            Self::PersistentVolumes => "persistentvolumes",
            Self::VolumeSnapshots => "volumesnapshots",
            Self::VolumeSnapshotContents => "volumesnapshotcontents",
            Self::VolumeSnapshotClasses => "volumesnapshotclasses",
            Self::StorageClasses => "storageclasses",
            Self::ReplicationSources => "replicationsources",
            Self::ReplicationDestinations => "replicationdestinations",
            Self::Pods => "pods",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::Leases => "leases",
            Self::Nodes => "nodes",
            Self::Namespaces => "namespaces",
            Self::CephClusters => "cephclusters",
            Self::Remediations => "remediations",
            Self::SnapshotHolds => "snapshotholds",
            Self::HoldPolicy => "validatingadmissionpolicies",
            Self::HoldBinding => "validatingadmissionpolicybindings",
            Self::Events => "events",
            Self::Definitions => "customresourcedefinitions",
            Self::Clock => "clock",
        }
    }
}
