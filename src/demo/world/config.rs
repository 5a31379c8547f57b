//! What kind of cluster the world is.

use super::timings::Timings;

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// How long everything takes.
    pub timings: Timings,
    /// Namespace of the provisioner.
    pub namespace: String,
    /// CSI driver, which is also the StorageClasses' provisioner.
    pub driver: String,
    /// Who owns the provisioner's Deployment.
    pub layout: Layout,
    /// Whether the provisioner's Pods have a `csi-snapshotter` container.
    pub snapshotter: bool,
    /// Wording of provisioning failures.
    pub messages: ProvisionerMessages,
    /// Names of the Nodes.
    pub nodes: Vec<String>,
    /// Whether the controllers that come with a cluster are played too: for an API server with none beside it.
    pub controllers: bool,
}

/// How the CSI driver is deployed, which decides under which identity its sidecars hold their Leases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Rook itself, to 1.19: `csi-rbdplugin-provisioner`, with an external-provisioner to 6.1, which makes up its identity.
    Classic,
    /// ceph-csi-operator, from Rook 1.18: `<driver>-ctrlplugin`, whose Pod template is kept as the operator made it. Both
    /// sidecars hold under the host name, in which the dots are replaced.
    OperatorManaged,
    /// As Classic, on the host's network and with an external-provisioner from 6.2: both hold under the Node's name.
    HostNetwork,
    /// A StatefulSet, whose Pods keep their names. Needs the controllers of a cluster beside it.
    StatefulSet,
}

/// Versions of external-provisioner that word failures differently.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProvisionerMessages {
    /// To 5.x: `failed to provision volume with StorageClass "…": ` in front.
    Prefixed,
    /// From 6.0: the error alone.
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
