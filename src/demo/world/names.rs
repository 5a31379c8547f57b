//! Names that several actors and tests share.

use super::config::{Layout, WorldConfig};

/// Containers of a provisioner's Pod that are selected by name.
pub(super) const PROVISIONER_CONTAINER: &str = "csi-provisioner";
pub(super) const SNAPSHOTTER_CONTAINER: &str = "csi-snapshotter";
pub(super) const DRIVER_CONTAINER: &str = "csi-rbdplugin";

/// Set by the scheduler on a claim that waits for its first consumer.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Blocks the deletion of a VolumeSnapshotContent until its snapshot is removed from the backend.
pub(super) const CONTENT_FINALIZER: &str =
    "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";

/// Set by the controller manager on a claim that it delegates to an external provisioner.
pub(super) const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";

/// The Leases of external-provisioner and of external-snapshotter, which are held independently.
pub fn lease_names(driver: &str) -> (String, String) {
    let driver = driver.replace('.', "-");
    let snapshotter = format!("external-snapshotter-leader-{driver}");
    (driver, snapshotter)
}

/// Name of the provisioner's Deployment or StatefulSet, and value of its Pods' label `app`.
pub fn provisioner_deployment(config: &WorldConfig) -> String {
    match config.layout {
        Layout::Classic | Layout::HostNetwork | Layout::StatefulSet => {
            "csi-rbdplugin-provisioner".to_owned()
        }
        Layout::OperatorManaged => format!("{}-ctrlplugin", config.driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timings;

    #[test]
    fn lease_names_match_rook() {
        let (provisioner, snapshotter) = lease_names("rook-ceph.rbd.csi.ceph.com");
        assert_eq!(provisioner, "rook-ceph-rbd-csi-ceph-com");
        assert_eq!(
            snapshotter,
            "external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com"
        );
    }

    #[test]
    fn deployment_name_depends_on_the_layout() {
        let mut config = WorldConfig::new(Timings::fast());
        assert_eq!(provisioner_deployment(&config), "csi-rbdplugin-provisioner");
        config.layout = Layout::OperatorManaged;
        assert_eq!(
            provisioner_deployment(&config),
            "rook-ceph.rbd.csi.ceph.com-ctrlplugin"
        );
    }
}
