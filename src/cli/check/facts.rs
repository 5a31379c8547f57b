//! Input of the checks: plain values, gathered once.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::{ObjectKind, SharedStr};
use crate::cluster::rights::Right;
use crate::config::{Config, Mode};
use crate::csi;
use crate::findings;
use crate::model::records::{Lease, Pod, Sidecars};
use crate::model::{Freshness, Model, Provisioner, WatchState, lease_names};
use crate::state::view::View;

/// All gathered facts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether locksmith is yet to be installed.
    pub before_install: bool,
    /// Mode of the configuration.
    pub mode: Mode,
    /// Namespace of the daemon.
    pub namespace: String,
    /// Whether this runs in a pod of the cluster.
    pub in_cluster: bool,
    /// URL of the API server.
    pub server: String,
    /// Its version, or why it could not be read.
    pub version: Result<Version, String>,
    /// Everything else; `None` if the API server was not reached.
    pub cluster: Option<ClusterFacts>,
}

/// Version of the API server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// 1.
    pub major: u32,
    /// 36.
    pub minor: u32,
    /// Full version, such as `v1.36.0`.
    pub text: String,
}

/// Facts about the cluster.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// From the watches.
    pub observed: Observed,
    /// The served schemas of our kinds, compared, or why they could not be.
    pub definitions: Result<WatchState, String>,
    /// Why a trial hold is not in force; `None` if it was not tried.
    pub trial: Option<Result<(), Trial>>,
    /// The user whose rights were reviewed.
    pub user: Option<String>,
    /// The rights that the configuration needs, and whether the user has each, or the error of its review.
    pub rights: Vec<(Right, Result<bool, String>)>,
    /// The daemon's version, or why it could not be read.
    pub daemon: Result<String, String>,
    /// Prometheus; `None` if no URL is known.
    pub prometheus: Option<PrometheusFacts>,
    /// Alertmanager; `None` if no URL is known.
    pub alertmanager: Option<AlertmanagerFacts>,
}

/// Why a trial hold proves nothing.
#[derive(Clone, Debug)]
pub enum Trial {
    /// The hold was created, and is not in force.
    Refuted(String),
    /// It could not be created.
    NotTried(String),
}

/// Answers of Prometheus.
#[derive(Clone, Debug)]
pub struct PrometheusFacts {
    /// Its URL.
    pub url: String,
    /// Names of all loaded alerts, or why they could not be read.
    pub alerts: Result<BTreeSet<String>, String>,
    /// The version of each scraped daemon, or why they could not be read.
    pub versions: Result<Vec<String>, String>,
    /// Number of series that each expression of gate `promql` returns, by its name, or why it could not be evaluated.
    pub expressions: Vec<(String, Result<usize, String>)>,
}

/// Answers of Alertmanager.
#[derive(Clone, Debug)]
pub struct AlertmanagerFacts {
    /// Its URL.
    pub url: String,
    /// Its configuration as YAML, or why it could not be read.
    pub config: Result<String, String>,
    /// Names of the shipped alerts that start a playbook.
    pub starting: Vec<&'static str>,
}

/// Facts from the watches.
#[derive(Clone, Debug)]
pub struct Observed {
    /// State of each watch.
    pub freshness: Freshness,
    /// Why the hold policy is not in force.
    pub hold_policy: Option<String>,
    /// CSI drivers of classes and volumes, by name.
    pub drivers: Vec<DriverFacts>,
    /// Entries of `drivers` that match none of them.
    pub unused_entries: Vec<SharedStr>,
    /// Entries of `drivers` that only match drivers of existing volumes, which no class names.
    pub classless_entries: Vec<SharedStr>,
    /// Whether `drivers` is empty, so that every CSI driver is watched.
    pub watches_all: bool,
    /// The configured `provisionerNamespaces`.
    pub namespaces: Vec<SharedStr>,
    /// Those that do not exist.
    pub missing_namespaces: Vec<SharedStr>,
    /// The leader Lease; `None` if there is none.
    pub leader: Option<LeaseFacts>,
}

/// A CSI driver in use.
#[derive(Clone, Debug)]
pub struct DriverFacts {
    /// Its name.
    pub name: SharedStr,
    /// Whether the configuration watches it.
    pub watched: bool,
    /// Whether a StorageClass names it.
    pub provisions: bool,
    /// Whether a VolumeSnapshotClass names it.
    pub snapshots: bool,
    /// Number of its PersistentVolumes.
    pub volumes: usize,
    /// The container whose log shows its locks.
    pub container: LogContainer,
    /// Namespaces with a lease of its sidecars that is held, whether configured or not.
    pub leased_in: Vec<SharedStr>,
    /// Its provisioner, or why none is found.
    pub provisioner: Result<ProvisionerFacts, String>,
}

/// Container with a driver's lock messages, as far as known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogContainer {
    /// This container's log shows locks.
    Named(SharedStr),
    /// The driver is known to take no locks.
    TakesNoLocks,
    /// The driver is unknown.
    Unknown,
}

/// A provisioner that was found.
#[derive(Clone, Debug)]
pub struct ProvisionerFacts {
    /// Its workload, such as `Deployment rook-ceph/csi-rbdplugin-provisioner`.
    pub workload: String,
    /// Its namespace.
    pub namespace: SharedStr,
    /// Number of running pods.
    pub running: usize,
    /// Whether a running pod has a container with the name of a sidecar.
    pub has_named_sidecars: bool,
    /// Whether every running pod has a provisioner's sidecar.
    pub has_provisioner: bool,
    /// Whether every running pod has a snapshotter's sidecar.
    pub has_snapshotter: bool,
    /// Lease of the provisioner's sidecar.
    pub provisioner_lease: Option<LeaseFacts>,
    /// Lease of the snapshotter's sidecar.
    pub snapshotter_lease: Option<LeaseFacts>,
    /// Number of logs that are followed.
    pub followed: usize,
    /// Logs that cannot be read: pod, and why.
    pub unreadable: Vec<(String, String)>,
    /// Number of logs that were not opened in time.
    pub unopened: usize,
}

/// A Lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseFacts {
    /// Its name.
    pub name: SharedStr,
    /// Its holder; empty if nobody holds it.
    pub holder: SharedStr,
    /// Whether the holder renewed it in time.
    pub held: bool,
    /// Time of the last renewal.
    pub renewed: Option<Timestamp>,
}

impl LeaseFacts {
    fn of(lease: &Lease, now: Timestamp) -> Self {
        Self {
            name: lease.name.clone(),
            holder: lease.holder.clone().unwrap_or_default(),
            held: lease.held(now),
            renewed: lease.renewed,
        }
    }
}

impl Observed {
    /// The facts of a model and its view. `namespace` is the daemon's, and `lease` the name of its Lease.
    pub fn of(
        model: &Model,
        view: &View,
        config: &Config,
        (namespace, lease): (&str, &str),
        now: Timestamp,
    ) -> Self {
        let by_class = findings::drivers_of_classes(model).into_iter();
        let by_volume = model.volumes.iter().map(|volume| &volume.driver);
        let names: BTreeSet<&SharedStr> = by_class.chain(by_volume).collect();
        let drivers: Vec<_> = names
            .into_iter()
            .map(|name| DriverFacts::of(model, view, config, name, now))
            .collect();
        let used =
            |entry: &&crate::config::Driver| drivers.iter().any(|it| entry.matches(&it.name));
        let entries = config.drivers.0.iter();
        let (used, unused): (Vec<_>, Vec<_>) = entries.partition(used);
        let has_class = |entry: &&crate::config::Driver| {
            let mut matching = drivers.iter().filter(|it| entry.matches(&it.name));
            matching.any(DriverFacts::has_class)
        };
        let names = |entries: Vec<&crate::config::Driver>| {
            let names = entries.into_iter().map(|entry| entry.name.clone());
            names.collect()
        };
        let classless = used.into_iter().filter(|entry| !has_class(entry)).collect();
        let namespaces = config.provisioner_namespaces.0.clone();
        let missing = namespaces
            .iter()
            .filter(|name| model.namespaces.get_cluster(name).is_none());
        let leader = model.leases.get(&namespace.into(), &lease.into());
        Self {
            freshness: view.freshness.clone(),
            hold_policy: view.hold_policy.clone(),
            unused_entries: names(unused),
            classless_entries: names(classless),
            watches_all: config.drivers.0.is_empty(),
            missing_namespaces: missing.cloned().collect(),
            namespaces,
            leader: leader.map(|lease| LeaseFacts::of(lease, now)),
            drivers,
        }
    }
}

impl DriverFacts {
    fn of(model: &Model, view: &View, config: &Config, name: &SharedStr, now: Timestamp) -> Self {
        let entry = config.drivers.find(name);
        let preset = csi::preset(name);
        let configured = entry.and_then(|entry| entry.log_container(name));
        let container = match configured.or_else(|| preset?.container.map(SharedStr::from)) {
            Some(container) => LogContainer::Named(container),
            None if preset.is_some() => LogContainer::TakesNoLocks,
            None => LogContainer::Unknown,
        };
        let (provisioner, snapshotter) = lease_names(name);
        let leases = model.leases.iter().filter(|lease| {
            [&*provisioner, &*snapshotter].contains(&&*lease.name) && lease.held(now)
        });
        let leased_in: BTreeSet<_> = leases.map(|lease| lease.namespace.clone()).collect();
        let provisioner = match model.find_provisioner(name) {
            Ok(found) => Ok(ProvisionerFacts::of(model, view, &found, name, now)),
            Err(why) => Err(why.to_string()),
        };
        let of_class = |driver: &SharedStr| driver == name;
        Self {
            watched: entry.is_some(),
            provisions: model
                .storage_classes
                .iter()
                .any(|class| of_class(&class.provisioner)),
            snapshots: model
                .snapshot_classes
                .iter()
                .any(|class| of_class(&class.driver)),
            volumes: model
                .volumes
                .iter()
                .filter(|volume| of_class(&volume.driver))
                .count(),
            name: name.clone(),
            container,
            leased_in: leased_in.into_iter().collect(),
            provisioner,
        }
    }

    /// Whether a class names it; a driver with old volumes only creates no new ones.
    pub fn has_class(&self) -> bool {
        self.provisions || self.snapshots
    }
}

impl ProvisionerFacts {
    fn of(
        model: &Model,
        view: &View,
        found: &Provisioner<'_>,
        driver: &SharedStr,
        now: Timestamp,
    ) -> Self {
        let pods = model.replicas(found).map(|replica| replica.pod);
        let running: Vec<_> = pods.filter(|pod| pod.running).collect();
        let all_run = |runs: fn(&Sidecars) -> bool| {
            let has = |pod: &&Pod| pod.sidecars.as_deref().is_some_and(runs);
            running.iter().all(has)
        };
        let logs = view.provisioners.iter().find(|it| it.driver == *driver);
        let unreadable = logs.map(|logs| &logs.unreadable).into_iter().flatten();
        Self {
            workload: found.workload.key().to_string(),
            namespace: found.workload.meta.namespace.clone(),
            running: running.len(),
            has_named_sidecars: running.iter().any(|pod| pod.sidecars.is_some()),
            has_provisioner: all_run(Sidecars::provisions),
            has_snapshotter: all_run(Sidecars::snapshots),
            provisioner_lease: found.provisioner.map(|it| LeaseFacts::of(it, now)),
            snapshotter_lease: found.snapshotter.map(|it| LeaseFacts::of(it, now)),
            followed: logs.map_or(0, |logs| logs.followed),
            unreadable: unreadable
                .map(|log| {
                    let pod = format!("{} {}", ObjectKind::Pod.as_str(), log.pod.name);
                    (pod, log.problem.to_string())
                })
                .collect(),
            unopened: logs.map_or(0, |logs| logs.unopened),
        }
    }
}
