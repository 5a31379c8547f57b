//! The watched kinds, and the conversion of each.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

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
        self.built_in(
            Kind::PersistentVolumeClaims,
            Change::Claim,
            "",
            |claim: &PersistentVolumeClaim| convert::claim(claim),
        );
        self.built_in(
            Kind::PersistentVolumes,
            Change::Volume,
            "",
            |volume: &PersistentVolume| convert::volume(volume),
        );
        self.built_in(
            Kind::StorageClasses,
            Change::StorageClass,
            "",
            |class: &StorageClass| convert::storage_class(class),
        );
        self.built_in(Kind::Pods, Change::Pod, "", convert::pod);
        self.built_in(
            Kind::Deployments,
            Change::Deployment,
            "",
            |deployment: &Deployment| convert::deployment(deployment),
        );
        self.built_in(
            Kind::StatefulSets,
            Change::StatefulSet,
            "",
            |set: &StatefulSet| convert::stateful_set(set),
        );
        self.built_in(
            Kind::DaemonSets,
            Change::DaemonSet,
            "",
            |set: &DaemonSet| convert::daemon_set(set),
        );
        self.built_in(Kind::Leases, Change::Lease, BUT_NODES, |lease: &Lease| {
            convert::lease(lease)
        });
        self.built_in(Kind::Nodes, Change::Node, "", convert::node);
        self.built_in(
            Kind::Namespaces,
            Change::Namespace,
            "",
            |namespace: &Namespace| convert::namespace(namespace),
        );
        self.custom(
            Kind::VolumeSnapshotClasses,
            Change::SnapshotClass,
            |class: &VolumeSnapshotClass| convert::snapshot_class(class),
        );
        self.custom(
            Kind::ReplicationSources,
            Change::Source,
            |source: &ReplicationSource| convert::source(source),
        );
        self.custom(
            Kind::ReplicationDestinations,
            Change::Destination,
            |it: &ReplicationDestination| convert::destination(it),
        );
        self.custom(
            Kind::CephClusters,
            Change::CephCluster,
            |ceph: &CephCluster| convert::ceph_cluster(ceph),
        );
        self.custom_in(
            self.ours(),
            Kind::Remediations,
            Change::Run,
            |run: &Remediation| convert::run(run),
        );
        self.follow_holds();
        let known = patterns.clone();
        self.custom(
            Kind::VolumeSnapshotContents,
            Change::Content,
            move |it: &VolumeSnapshotContent| convert::content(it, &known),
        );
        let known = patterns.clone();
        self.custom(
            Kind::VolumeSnapshots,
            Change::Snapshot,
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
        self.custom_in(
            self.ours(),
            Kind::SnapshotHolds,
            Change::SnapshotHold,
            |hold: &SnapshotHold| convert::hold(hold),
        );
        self.built_in(
            Kind::HoldPolicy,
            Change::HoldPolicy,
            OUR_POLICY,
            policy::policy_record,
        );
        self.built_in(
            Kind::HoldBinding,
            Change::HoldBinding,
            OUR_POLICY,
            policy::binding_record,
        );
    }

    /// The API of one of our own kinds, in our namespace.
    fn ours<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Watches a kind whose schema the API server guarantees.
    fn built_in<K, T>(
        &mut self,
        kind: Kind,
        wrap: fn(Delta<T>) -> Change,
        fields: &'static str,
        convert: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.follow(Api::all(self.client.clone()), kind, wrap, fields, convert);
    }

    fn follow<K, T>(
        &mut self,
        api: Api<K>,
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

    /// Watches a kind whose objects may have any content that their CRD admits.
    fn custom<K, T>(
        &mut self,
        kind: Kind,
        wrap: fn(Delta<T>) -> Change,
        convert: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.custom_in(Api::all(self.client.clone()), kind, wrap, convert);
    }

    /// The same, for the objects of `api`. An object that cannot be parsed must not hide the others.
    fn custom_in<K, T>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        kind: Kind,
        wrap: fn(Delta<T>) -> Change,
        convert: impl Fn(&K) -> Option<T> + Send + Sync + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.follow(
            api,
            kind,
            wrap,
            "",
            move |guarded: &DeserializeGuard<K>| match &guarded.0 {
                Ok(object) => convert(object),
                Err(invalid) => {
                    let (namespace, name) = (&invalid.metadata.namespace, &invalid.metadata.name);
                    let error = &invalid.error;
                    tracing::warn!(
                        kind = kind.as_str(),
                        ?namespace,
                        ?name,
                        error,
                        "object cannot be parsed"
                    );
                    None
                }
            },
        );
    }
}
