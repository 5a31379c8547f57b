//! The watched kinds, and the conversion of each.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::guarded::Guarded;
use super::source::{Sink, follow, follow_events};
use super::{Changes, Patterns, convert};
use crate::api::ceph::CephCluster;
use crate::api::hold::SnapshotHold;
use crate::api::remediation::Remediation;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::api::volsync::{ReplicationDestination, ReplicationSource};
use crate::holds::policy;
use crate::metrics::SelfMetrics;
use crate::model::{Change, Delta, Kind};
use crate::tasks::Tasks;

/// Excludes node leases, which are renewed every 10 s; no provisioner holds one.
const BUT_NODES: &str = "metadata.namespace!=kube-node-lease";

/// Selects our policy, since the right to read policies is limited to this name; see [`crate::api::hold::POLICY_NAME`].
const OUR_POLICY: &str = "metadata.name=locksmith-snapshot-hold";

/// Starts one task for each watch.
pub struct Kinds<'a> {
    client: &'a Client,
    /// The namespace of Remediations and SnapshotHolds; all namespaces if `None`.
    namespace: Option<&'a str>,
    changes: &'a Changes,
    own: &'a SelfMetrics,
    tasks: &'a mut Tasks,
}

impl<'a> Kinds<'a> {
    /// Watches by `client`, into `changes`. Remediations and SnapshotHolds are read only in `namespace`: in other
    /// namespaces, tenants may create both with any status, and gates would count them.
    pub fn new(
        client: &'a Client,
        namespace: Option<&'a str>,
        changes: &'a Changes,
        own: &'a SelfMetrics,
        tasks: &'a mut Tasks,
    ) -> Self {
        Self {
            client,
            namespace,
            changes,
            own,
            tasks,
        }
    }

    /// Starts every watch.
    pub fn follow_all(&mut self, patterns: &Arc<Patterns>) {
        self.watch(
            Kind::PersistentVolumeClaims,
            Change::Claim,
            "",
            |claim: &PersistentVolumeClaim| convert::claim(claim),
        );
        self.watch(
            Kind::PersistentVolumes,
            Change::Volume,
            "",
            |volume: &PersistentVolume| convert::volume(volume),
        );
        self.watch(
            Kind::StorageClasses,
            Change::StorageClass,
            "",
            |class: &StorageClass| convert::storage_class(class),
        );
        self.watch(Kind::Pods, Change::Pod, "", convert::pod);
        self.watch(
            Kind::Deployments,
            Change::Deployment,
            "",
            |deployment: &Deployment| convert::deployment(deployment),
        );
        self.watch(
            Kind::StatefulSets,
            Change::StatefulSet,
            "",
            |set: &StatefulSet| convert::stateful_set(set),
        );
        self.watch(
            Kind::DaemonSets,
            Change::DaemonSet,
            "",
            |set: &DaemonSet| convert::daemon_set(set),
        );
        self.watch(Kind::Leases, Change::Lease, BUT_NODES, |lease: &Lease| {
            convert::lease(lease)
        });
        self.watch(Kind::Nodes, Change::Node, "", convert::node);
        self.watch(
            Kind::Namespaces,
            Change::Namespace,
            "",
            |namespace: &Namespace| convert::namespace(namespace),
        );
        self.watch(
            Kind::VolumeSnapshotClasses,
            Change::SnapshotClass,
            "",
            |class: &VolumeSnapshotClass| convert::snapshot_class(class),
        );
        self.watch(
            Kind::ReplicationSources,
            Change::Source,
            "",
            |source: &ReplicationSource| convert::source(source),
        );
        self.watch(
            Kind::ReplicationDestinations,
            Change::Destination,
            "",
            |it: &ReplicationDestination| convert::destination(it),
        );
        self.watch(
            Kind::CephClusters,
            Change::CephCluster,
            "",
            |ceph: &CephCluster| convert::ceph_cluster(ceph),
        );
        self.watch_in(
            self.ours(),
            Kind::Remediations,
            Change::Run,
            "",
            |run: &Remediation| convert::run(run),
        );
        self.follow_holds();
        self.follow_lock_errors(patterns);
    }

    /// The kinds in which controllers report the errors of a driver.
    fn follow_lock_errors(&mut self, patterns: &Arc<Patterns>) {
        let known = patterns.clone();
        self.watch(
            Kind::VolumeSnapshotContents,
            Change::Content,
            "",
            move |it: &VolumeSnapshotContent| convert::content(it, &known),
        );
        let known = patterns.clone();
        self.watch(
            Kind::VolumeSnapshots,
            Change::Snapshot,
            "",
            move |it: &VolumeSnapshot| convert::snapshot(it, &known),
        );
        let (changes, own) = (self.changes.clone(), self.own.clone());
        self.tasks.spawn(
            "watch of Events",
            follow_events(
                Api::all(self.client.clone()),
                changes,
                own,
                patterns.clone(),
            ),
        );
    }

    /// SnapshotHolds, and the policy and binding that enforce them.
    fn follow_holds(&mut self) {
        self.watch_in(
            self.ours(),
            Kind::SnapshotHolds,
            Change::SnapshotHold,
            "",
            |hold: &SnapshotHold| convert::hold(hold),
        );
        self.watch(
            Kind::HoldPolicy,
            Change::HoldPolicy,
            OUR_POLICY,
            policy::policy_record,
        );
        self.watch(
            Kind::HoldBinding,
            Change::HoldBinding,
            OUR_POLICY,
            policy::binding_record,
        );
    }

    /// The API of one of our own kinds, in our namespace.
    fn ours<K>(&self) -> Api<Guarded<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Watches the objects of one kind that `fields` selects.
    fn watch<K, T>(
        &mut self,
        kind: Kind,
        wrap: fn(Delta<T>) -> Change,
        fields: &'static str,
        convert: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
    {
        let api = Api::all(self.client.clone());
        self.watch_in(api, kind, wrap, fields, convert);
    }

    /// The same, for the objects of `api`.
    fn watch_in<K, T>(
        &mut self,
        api: Api<Guarded<K>>,
        kind: Kind,
        wrap: fn(Delta<T>) -> Change,
        fields: &'static str,
        convert: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
    {
        let sink = Sink::new(kind, self.changes.clone(), self.own.clone(), wrap);
        self.tasks
            .spawn(kind.as_str(), follow(api, fields, sink, convert));
    }
}
