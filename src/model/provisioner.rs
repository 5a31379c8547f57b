//! Who serves a CSI driver: driver → lease → holder → pod → Deployment.

use jiff::Timestamp;

use super::records::{Deployment, Lease, Pod};
use super::{Model, Sym};

/// Kubernetes cuts a hostname, and so a lease holder's identity, at this length.
const MAX_HOSTNAME: usize = 63;

/// The controller side of a CSI driver, as found in the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Provisioner<'m> {
    /// Lease of external-provisioner.
    pub provisioner: Option<&'m Lease>,
    /// Lease of external-snapshotter.
    pub snapshotter: Option<&'m Lease>,
    /// The Deployment the lease holders belong to.
    pub deployment: &'m Deployment,
}

/// One of its pods.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'m> {
    /// The pod.
    pub pod: &'m Pod,
    /// Whether it holds either lease.
    pub leads: bool,
}

/// Names of the two leases of `driver`, provisioner's first.
///
/// Upstream: csi-lib-utils `leaderelection.sanitizeName`, external-snapshotter `cmd/csi-snapshotter/main.go`.
pub fn lease_names(driver: &str) -> (String, String) {
    let mut name: String = driver
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    if name.ends_with('-') {
        name.push('X');
    }
    let snapshotter = format!("external-snapshotter-leader-{name}");
    (name, snapshotter)
}

impl Model {
    /// The provisioner of `driver`, or `None` when no lease leads to a Deployment.
    pub fn provisioner(&self, driver: &str) -> Option<Provisioner<'_>> {
        let (provisioner, snapshotter) = lease_names(driver);
        let lease = |name: &str| self.leases.iter().find(|lease| &*lease.name == name);
        let (provisioner, snapshotter) = (lease(&provisioner), lease(&snapshotter));
        let deployment = [provisioner, snapshotter]
            .into_iter()
            .flatten()
            .find_map(|lease| self.deployment_of(self.holder(lease)?))?;
        Some(Provisioner {
            provisioner,
            snapshotter,
            deployment,
        })
    }

    /// The pod that holds `lease`.
    pub fn holder(&self, lease: &Lease) -> Option<&Pod> {
        let holder = lease.holder.as_ref()?;
        self.pods.get(&lease.namespace, holder).or_else(|| {
            let cut =
                |pod: &&Pod| holder.len() == MAX_HOSTNAME && pod.meta.name.starts_with(&**holder);
            self.pods
                .iter()
                .filter(|pod| pod.meta.namespace == lease.namespace)
                .find(cut)
        })
    }

    /// The Deployment a pod belongs to: its ReplicaSet is called after it and the template's hash.
    fn deployment_of(&self, pod: &Pod) -> Option<&Deployment> {
        let (kind, replica_set) = pod.controller.as_ref()?;
        let hash = pod.template_hash.as_ref()?;
        if &**kind != "ReplicaSet" {
            return None;
        }
        let name = replica_set.strip_suffix(&**hash)?.strip_suffix('-')?;
        self.deployments.get(&pod.meta.namespace, &Sym::from(name))
    }

    /// Every pod of the provisioner, leaders and standbys.
    pub fn replicas<'m>(
        &'m self,
        of: &Provisioner<'m>,
    ) -> impl Iterator<Item = Replica<'m>> + use<'m> {
        let deployment = of.deployment;
        let leaders =
            [of.provisioner, of.snapshotter].map(|lease| lease.and_then(|l| self.holder(l)));
        self.pods
            .iter()
            .filter(move |pod| {
                pod.meta.namespace == deployment.meta.namespace
                    && self
                        .deployment_of(pod)
                        .is_some_and(|d| d.meta.uid == deployment.meta.uid)
            })
            .map(move |pod| Replica {
                pod,
                leads: leaders
                    .iter()
                    .flatten()
                    .any(|leader| leader.meta.uid == pod.meta.uid),
            })
    }
}

impl Provisioner<'_> {
    /// When the younger of the two present leaders took over: what was refused before says nothing of them.
    pub fn acquired(&self) -> Option<Timestamp> {
        [self.provisioner, self.snapshotter]
            .into_iter()
            .flatten()
            .filter_map(|lease| lease.acquired)
            .max()
    }
}

impl Lease {
    /// Whether it is held and was renewed within its own duration before `now`.
    pub fn held(&self, now: Timestamp) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|holder| !holder.is_empty())
            && self.renewed.is_some_and(|renewed| {
                now.duration_since(renewed).as_secs() <= i64::from(self.seconds)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_names_are_those_rook_shows() {
        let (provisioner, snapshotter) = lease_names("rook-ceph.rbd.csi.ceph.com");
        assert_eq!(provisioner, "rook-ceph-rbd-csi-ceph-com");
        assert_eq!(
            snapshotter,
            "external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com"
        );
    }
}
