//! State of each watch: a collection that was never listed, or whose watch fails, proves nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// Tolerated difference between clocks: longer than a request takes, shorter than every protective timeout.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

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

/// State of one watch.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// Nothing has been listed yet.
    Never,
    /// Listed completely, and watched since.
    Synced,
    /// The last attempt failed; the known objects may be stale.
    Failing(String),
    /// The cluster does not serve this API, so there are no such objects.
    NotServed,
}

/// State of every watch.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(with = "BTreeMap<Kind, (WatchState, Option<String>)>")]
pub struct Freshness(BTreeMap<Kind, (WatchState, Option<Timestamp>)>);

impl Freshness {
    /// Records a state.
    pub fn note(&mut self, kind: Kind, state: WatchState, at: Timestamp) {
        self.0.insert(kind, (state, Some(at)));
    }

    /// State of one watch.
    pub fn of(&self, kind: Kind) -> &WatchState {
        self.0
            .get(&kind)
            .map_or(&WatchState::Never, |(state, _)| state)
    }

    /// Time at which the state was last confirmed or changed.
    pub fn at(&self, kind: Kind) -> Option<Timestamp> {
        self.0.get(&kind).and_then(|(_, at)| *at)
    }

    /// Whether the known objects can be acted on: the watch is synced, or the kind is not served.
    pub fn trusted(&self, kind: Kind) -> bool {
        matches!(self.of(kind), WatchState::Synced | WatchState::NotServed)
    }

    /// The kinds that cannot be acted on, each with its state.
    pub fn unsynced(&self) -> impl Iterator<Item = (Kind, &WatchState)> {
        Kind::ALL
            .into_iter()
            .map(|kind| (kind, self.of(kind)))
            .filter(|(kind, state)| {
                // No failure of the policy watch, such as a missing right, makes findings incomplete; gate `holdPolicy` checks
                // the policy.
                let of_policy = matches!(kind, Kind::HoldPolicy | Kind::HoldBinding);
                let blocks = !of_policy || !matches!(state, WatchState::Failing(_));
                blocks && !self.trusted(*kind)
            })
    }
}
