//! Finds the provisioner of a CSI driver: driver → lease → holder → pod → Deployment, StatefulSet or DaemonSet.
//!
//! The holder of a lease is rarely the name of a pod. csi-lib-utils uses the host name, with every character but letters,
//! digits and `-` replaced by `-`; a pod in the host network has its node's host name; external-provisioner 3.1.1 to 6.1.x
//! uses a random identity, `<unix ms>-<0..9999>-<driver>`, which names no pod. Leases are never cleaned up, and every
//! tenant can create one in their own namespace, so only those in [`Discovery::namespaces`] are read.

mod not_found;
#[cfg(test)]
mod tests;

pub use not_found::ProvisionerNotFound;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::records::{Lease, Pod, Sidecars, Workload};
use super::{CLOCK_TOLERANCE, Model};
use crate::api::{ObjectKey, ObjectKind, SharedStr};
use crate::config::{Config, Drivers, ProvisionerNamespaces, ProvisionerRef, WorkloadKind};

/// Kubernetes cuts a host name at this length.
const MAX_HOSTNAME: usize = 63;

/// Where provisioners are searched.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Namespaces that may hold provisioners.
    pub namespaces: ProvisionerNamespaces,
    /// Configured drivers; some entries name the provisioner's workload.
    pub drivers: Drivers,
}

impl Discovery {
    /// The settings in `config`.
    pub fn of(config: &Config) -> Self {
        Self {
            namespaces: config.provisioner_namespaces.clone(),
            drivers: config.drivers.clone(),
        }
    }

    /// Whether a provisioner may be in this namespace.
    pub fn covers(&self, namespace: &SharedStr) -> bool {
        let named = self
            .drivers
            .0
            .iter()
            .filter_map(|it| it.provisioner.as_ref());
        self.namespaces.0.contains(namespace)
            || named.into_iter().any(|named| named.namespace == *namespace)
    }
}

/// The controller side of a CSI driver, as found in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Provisioner<'m> {
    /// Lease of external-provisioner, in the namespace of the workload.
    pub provisioner: Option<&'m Lease>,
    /// Lease of external-snapshotter, in the namespace of the workload.
    pub snapshotter: Option<&'m Lease>,
    /// The workload that the lease holders belong to.
    pub workload: &'m Workload,
    /// The driver.
    driver: &'m str,
}

/// One of its pods.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'m> {
    /// The pod.
    pub pod: &'m Pod,
    /// Whether it holds either lease, as far as known: if a lease's holder names no pod, each replica may be the holder.
    pub leads: bool,
}

/// Names of the two leases of `driver`, provisioner's first.
///
/// Upstream: csi-lib-utils `leaderelection.sanitizeName`, external-snapshotter `cmd/csi-snapshotter/main.go`.
pub fn lease_names(driver: &str) -> (String, String) {
    let name = sanitized(driver);
    let snapshotter = format!("external-snapshotter-leader-{name}");
    (name, snapshotter)
}

/// csi-lib-utils `leaderelection.sanitizeName`.
fn sanitized(name: &str) -> String {
    let mut name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    if name.ends_with('-') {
        name.push('X');
    }
    name
}

/// Whether `identity` has the random form of external-provisioner 3.1.1 to 6.1.x: `<unix ms>-<0..9999>-<driver>`.
pub fn is_random_identity(identity: &str, driver: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = identity.splitn(3, '-');
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(|rest| rest == sanitized(driver))
}

/// The host name of a pod or node of this name (kubelet, `truncatePodHostnameIfNeeded`).
fn host_name(name: &str) -> &str {
    match name.get(..MAX_HOSTNAME) {
        Some(cut) if name.len() > MAX_HOSTNAME => cut.trim_end_matches(['-', '.']),
        _ => name,
    }
}

/// How a lease holder's identity matches a pod, most certain first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum HolderMatch {
    /// It is the name of the pod.
    Name,
    /// It is the pod's host name, sanitised by csi-lib-utils.
    HostName,
    /// It is the node's host name, sanitised by csi-lib-utils, and the pod is in the host network.
    Node,
}

impl HolderMatch {
    fn of(pod: &Pod, sidecars: &Sidecars, holder: &str) -> Option<Self> {
        let is = |name: &str| {
            let host = host_name(name);
            *host == *holder || sanitized(host) == *holder
        };
        let hostname = sidecars.hostname.as_deref().unwrap_or(&pod.meta.name);
        if *pod.meta.name == *holder {
            Some(Self::Name)
        } else if is(hostname) {
            Some(Self::HostName)
        } else if sidecars.host_network && sidecars.node.as_deref().is_some_and(is) {
            Some(Self::Node)
        } else {
            None
        }
    }
}

/// How certain it is that a pod with the sidecars serves a driver, least certain first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Confidence {
    /// It has the container configured for the driver.
    Possible,
    /// An argument of a container names the driver.
    Named,
}

/// Tests whether a pod runs the sidecar that holds a lease.
type SidecarTest = fn(&Sidecars) -> bool;

impl<'m> Provisioner<'m> {
    /// Its leases.
    pub fn leases(&self) -> impl Iterator<Item = &'m Lease> + use<'m> {
        self.provisioner.into_iter().chain(self.snapshotter)
    }

    /// The test for the sidecar that holds `lease`.
    fn runs(&self, lease: &Lease) -> SidecarTest {
        match self.provisioner {
            Some(provisioner) if provisioner.name == lease.name => Sidecars::provisions,
            _ => Sidecars::snapshots,
        }
    }

    /// Time at which the younger of the two present leaders took over; earlier refusals came from their predecessors.
    pub fn acquired(&self) -> Option<Timestamp> {
        self.leases().filter_map(|lease| lease.acquired).max()
    }
}

impl Model {
    /// The configured drivers that a class of the cluster names.
    pub fn watched_drivers(&self) -> BTreeSet<&SharedStr> {
        let provisions = self.storage_classes.iter().map(|class| &class.provisioner);
        let snapshots = self.snapshot_classes.iter().map(|class| &class.driver);
        provisions
            .chain(snapshots)
            .filter(|driver| self.discovery.drivers.find(driver).is_some())
            .collect()
    }

    /// The provisioner of `driver`, or `None` if [`Model::find_provisioner`] finds none.
    pub fn provisioner<'m>(&'m self, driver: &'m str) -> Option<Provisioner<'m>> {
        self.find_provisioner(driver).ok()
    }

    /// The provisioner of `driver`. A configured workload has priority; then the namespace with the most recently renewed
    /// lease, unless its holder leads to no workload and that of another namespace does; then, for a driver without leader
    /// election, the only workload that runs its sidecars.
    pub fn find_provisioner<'m>(
        &'m self,
        driver: &'m str,
    ) -> Result<Provisioner<'m>, ProvisionerNotFound> {
        let entry = self.discovery.drivers.find(driver);
        if let Some(named) = entry.and_then(|entry| entry.provisioner.as_ref()) {
            let workload = self.named_workload(named);
            let workload = workload.ok_or_else(|| ProvisionerNotFound::Override(named.clone()))?;
            return Ok(self.provisioner_of(workload, driver));
        }
        let namespaces = &self.discovery.namespaces.0;
        let mut elected: Vec<(&SharedStr, Leases<'m>)> = namespaces
            .iter()
            .map(|namespace| (namespace, self.leases_in(namespace, driver)))
            .filter(|(_, (provisioner, snapshotter))| provisioner.or(*snapshotter).is_some())
            .collect();
        // A stale lease is never deleted; the live one has the latest renewal.
        elected.sort_by_key(|(namespace, (provisioner, snapshotter))| {
            let renewed = [provisioner, snapshotter].map(|lease| lease.and_then(|l| l.renewed));
            (Reverse(renewed.into_iter().max()), (*namespace).clone())
        });
        let mut why = None;
        for (namespace, leases) in &elected {
            match self.elected_workload(namespace, *leases, driver) {
                Ok(workload) => return Ok(self.provisioner_of(workload, driver)),
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        if let Some(why) = why {
            return Err(why);
        }
        let workloads: Vec<&Workload> = namespaces
            .iter()
            .flat_map(|namespace| self.running_sidecars(namespace, driver))
            .collect();
        match workloads[..] {
            [workload] => Ok(self.provisioner_of(workload, driver)),
            [] => Err(ProvisionerNotFound::no_lease(self, driver)),
            _ => Err(ProvisionerNotFound::ambiguous(&workloads)),
        }
    }

    /// The provisioner of `driver` with a known workload, such as that of a plan, whatever discovery finds by now.
    pub fn provisioner_of<'m>(
        &'m self,
        workload: &'m Workload,
        driver: &'m str,
    ) -> Provisioner<'m> {
        let (provisioner, snapshotter) = self.leases_in(&workload.meta.namespace, driver);
        Provisioner {
            provisioner,
            snapshotter,
            workload,
            driver,
        }
    }

    fn named_workload(&self, named: &ProvisionerRef) -> Option<&Workload> {
        self.workload(named.kind, &named.namespace, &named.name)
    }

    /// The workload with that kind and name.
    pub fn workload(
        &self,
        kind: WorkloadKind,
        namespace: &SharedStr,
        name: &SharedStr,
    ) -> Option<&Workload> {
        let table = match kind {
            WorkloadKind::Deployment => &self.deployments,
            WorkloadKind::StatefulSet => &self.stateful_sets,
            WorkloadKind::DaemonSet => &self.daemon_sets,
        };
        table.get(namespace, name)
    }

    fn leases_in(&self, namespace: &SharedStr, driver: &str) -> Leases<'_> {
        let (provisioner, snapshotter) = lease_names(driver);
        let lease = |name: String| self.leases.get(namespace, &name.into());
        (lease(provisioner), lease(snapshotter))
    }

    /// The workload of the holder of either lease; otherwise the only workload there whose pods run the sidecars, as the
    /// holder may be a random identity.
    fn elected_workload<'m>(
        &'m self,
        namespace: &SharedStr,
        (provisioner, snapshotter): Leases<'m>,
        driver: &'m str,
    ) -> Result<&'m Workload, ProvisionerNotFound> {
        let roles: [(_, SidecarTest); 2] = [
            (provisioner, Sidecars::provisions),
            (snapshotter, Sidecars::snapshots),
        ];
        let mut unowned = None;
        for (lease, runs) in roles {
            let Some(lease) = lease else { continue };
            let holders = self.holders_by(lease, runs, driver);
            let of_holders = holders.iter().filter_map(|pod| self.workload_of(pod));
            let workloads = distinct(of_holders.collect());
            match (&workloads[..], holders.first()) {
                ([workload], _) => return Ok(workload),
                ([], Some(pod)) => {
                    unowned = unowned.or(Some(ProvisionerNotFound::unowned(pod)));
                }
                ([], None) => {}
                _ => return Err(ProvisionerNotFound::ambiguous(&workloads)),
            }
        }
        let workloads = self.running_sidecars(namespace, driver);
        match workloads[..] {
            [workload] => Ok(workload),
            [] => Err(unowned.unwrap_or_else(|| {
                ProvisionerNotFound::holder(namespace, provisioner.or(snapshotter))
            })),
            _ => Err(ProvisionerNotFound::ambiguous(&workloads)),
        }
    }

    /// Workloads of `namespace` whose pods run the sidecars of `driver`, by name: those with both sidecars, unless there is
    /// none.
    fn running_sidecars(&self, namespace: &SharedStr, driver: &str) -> Vec<&Workload> {
        let candidates = self
            .pods
            .needs_attention_in(namespace)
            .filter(|pod| !pod.finished)
            .filter_map(|pod| {
                let sidecars = pod.sidecars.as_ref()?;
                let fit = self.fit(sidecars, driver)?;
                let provisions = sidecars.provisions();
                provisions.then_some(((fit, sidecars.snapshots()), self.workload_of(pod)?))
            });
        let candidates: Vec<_> = candidates.collect();
        let best = candidates.iter().map(|(fit, _)| *fit).max();
        let best = candidates
            .into_iter()
            .filter(|(fit, _)| Some(*fit) == best)
            .map(|(_, workload)| workload);
        distinct(best.collect())
    }

    /// How certain it is that the pod serves `driver`; `None` if it serves another one, or lacks the configured container.
    fn fit(&self, sidecars: &Sidecars, driver: &str) -> Option<Confidence> {
        if let Some(named) = &sidecars.driver {
            return (**named == *driver).then_some(Confidence::Named);
        }
        let container = self.discovery.drivers.log_container(driver);
        let lacks = container.is_some_and(|container| !sidecars.containers.contains(&container));
        (!lacks).then_some(Confidence::Possible)
    }

    /// The pods that may hold a lease of the provisioner: one, or several on one node that share its host name, or none if
    /// the holder's identity names no pod.
    pub fn holders(&self, of: &Provisioner<'_>, lease: &Lease) -> Vec<&Pod> {
        self.holders_by(lease, of.runs(lease), of.driver)
    }

    fn holders_by(&self, lease: &Lease, runs: SidecarTest, driver: &str) -> Vec<&Pod> {
        let Some(holder) = lease.holder.as_ref() else {
            return Vec::new();
        };
        if let Some(pod) = self.pods.get(&lease.namespace, holder) {
            return vec![pod];
        }
        let candidates: Vec<(HolderMatch, &Pod)> = self
            .pods
            .needs_attention_in(&lease.namespace)
            .filter_map(|pod| {
                let sidecars = pod.sidecars.as_ref().filter(|sidecars| runs(sidecars))?;
                let by = HolderMatch::of(pod, sidecars, holder)?;
                let of_another = by == HolderMatch::Node
                    && (pod.finished || self.fit(sidecars, driver).is_none());
                (!of_another).then_some((by, pod))
            })
            .collect();
        let best = candidates.iter().map(|(by, _)| *by).min();
        candidates
            .into_iter()
            .filter(|(by, _)| Some(*by) == best)
            .map(|(_, pod)| pod)
            .collect()
    }

    /// Pods outside the workload that may hold `lease` as well, since they run its sidecar for the same driver.
    pub fn rivals(&self, of: &Provisioner<'_>, lease: &Lease) -> impl Iterator<Item = &Pod> {
        let (runs, driver, workload) = (of.runs(lease), of.driver, of.workload);
        self.pods
            .needs_attention_in(&lease.namespace)
            .filter(move |pod| !pod.finished && !self.belongs(pod, workload))
            .filter(move |pod| {
                let sidecars = pod.sidecars.as_deref().filter(|sidecars| runs(sidecars));
                sidecars.is_some_and(|sidecars| self.fit(sidecars, driver).is_some())
            })
    }

    /// The workload that a pod belongs to. The name of a Deployment's ReplicaSet is its own and the hash of the template.
    pub fn workload_of(&self, pod: &Pod) -> Option<&Workload> {
        let (kind, owner) = pod.controller.as_ref()?;
        let namespace = &pod.meta.namespace;
        match &**kind {
            "ReplicaSet" => {
                let hash = pod.template_hash.as_ref()?;
                let name = owner.strip_suffix(&**hash)?.strip_suffix('-')?;
                self.deployments.get(namespace, &name.into())
            }
            "StatefulSet" => self.stateful_sets.get(namespace, owner),
            "DaemonSet" => self.daemon_sets.get(namespace, owner),
            _ => None,
        }
    }

    /// Every pod of the provisioner, leaders and standbys.
    pub fn replicas<'m>(
        &'m self,
        of: &Provisioner<'m>,
    ) -> impl Iterator<Item = Replica<'m>> + use<'m> {
        let leaders: Vec<Vec<&Pod>> = of
            .leases()
            .filter(|lease| lease.holder.is_some())
            .map(|lease| self.holders(of, lease))
            .collect();
        // Without leader election, every pod is active.
        let all_lead = of.leases().next().is_none() || leaders.iter().any(Vec::is_empty);
        let is_leader = move |pod: &Pod| {
            let mut leaders = leaders.iter().flatten();
            all_lead || leaders.any(|leader| leader.meta.uid == pod.meta.uid)
        };
        let (workload, namespace) = (of.workload, &of.workload.meta.namespace);
        let belongs = |pod: &&Pod| self.belongs(pod, workload);
        let mut pods: Vec<&Pod> = self
            .pods
            .needs_attention_in(namespace)
            .filter(belongs)
            .collect();
        if pods.is_empty() {
            // A configured workload may use any names for its sidecars.
            pods = self.pods.iter().filter(belongs).collect();
        }
        pods.into_iter().map(move |pod| Replica {
            pod,
            leads: is_leader(pod),
        })
    }

    /// Whether the pod belongs to this workload.
    pub fn belongs(&self, pod: &Pod, workload: &Workload) -> bool {
        pod.meta.namespace == workload.meta.namespace
            && self
                .workload_of(pod)
                .is_some_and(|of| of.meta.uid == workload.meta.uid)
    }
}

/// Removes duplicates, by kind and name.
fn distinct(mut workloads: Vec<&Workload>) -> Vec<&Workload> {
    workloads.sort_by_key(|workload| workload.key());
    workloads.dedup_by_key(|workload| &workload.meta.uid);
    workloads
}

/// Leases of the provisioner and the snapshotter, in one namespace.
type Leases<'m> = (Option<&'m Lease>, Option<&'m Lease>);

impl Lease {
    /// The object's full identity.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: ObjectKind::Lease,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    /// Whether it is held and was renewed within its own duration before `now`, plus the tolerance for clocks: a sidecar's
    /// default lease of 15 s is shorter than the tolerance, and would never count as held if this clock is ahead.
    pub fn held(&self, now: Timestamp) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| !holder.is_empty())
            && self.renewed.is_some_and(|renewed| {
                let expires = SignedDuration::from_secs(self.seconds.into()) + CLOCK_TOLERANCE;
                now.duration_since(renewed) <= expires
            })
    }
}
