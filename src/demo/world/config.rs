//! The configuration of a simulated cluster.

use super::timings::Timings;

/// Configuration of a world.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Durations of all operations.
    pub timings: Timings,
    /// Namespace of the provisioner.
    pub namespace: String,
    /// CSI driver, which is also the StorageClasses' provisioner.
    pub driver: String,
    /// Layout of the provisioner.
    pub layout: Layout,
    /// Whether the provisioner's Pods have a `csi-snapshotter` container.
    pub snapshotter: bool,
    /// Wording of provisioning failures.
    pub messages: ProvisionerMessages,
    /// Names of the Nodes.
    pub nodes: Vec<String>,
    /// Whether the cluster's own controllers are simulated, too, for an API server without them.
    pub controllers: bool,
}

/// Deployment of the CSI driver, which decides the identity under which its sidecars hold their Leases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Rook until 1.19: `csi-rbdplugin-provisioner`, with an external-provisioner until 6.1, which has a random identity.
    Classic,
    /// ceph-csi-operator, from Rook 1.18: `<driver>-ctrlplugin`, whose Pod template the operator enforces. Both sidecars
    /// hold their Leases under the host name, with dots replaced.
    OperatorManaged,
    /// As Classic, in the host network and with an external-provisioner from 6.2: both hold under the Node's name.
    HostNetwork,
    /// A StatefulSet, whose Pods keep their names. Requires the controllers of a cluster.
    StatefulSet,
}

/// Wording of failures, by version of external-provisioner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProvisionerMessages {
    /// Until 5.x: prefixed with `failed to provision volume with StorageClass "…": `.
    Prefixed,
    /// From 6.0: only the error.
    Plain,
}

impl WorldConfig {
    /// A Rook cluster of three nodes with the classic provisioner.
    pub fn new(timings: Timings) -> Self {
        Self {
            timings,
            namespace: "rook-ceph".to_owned(),
            driver: "rook-ceph.rbd.csi.ceph.com".to_owned(),
            layout: Layout::Classic,
            snapshotter: true,
            messages: ProvisionerMessages::Plain,
            nodes: ["k8s-0", "k8s-1", "k8s-2"].map(str::to_owned).into(),
            controllers: false,
        }
    }
}
