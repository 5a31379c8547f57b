//! Known drivers, by name: the container whose log shows refused operations.
//!
//! A driver that is not listed is watched, too, by Events and by the status that its sidecars write on snapshots.
//! `deploy/docs/drivers.md` has the facts about each driver and their sources.

/// A known driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preset {
    names: Names,
    /// The container of its controller pods that logs refused operations, or `None` if the driver has no such locks. It also
    /// tells these pods from those of another driver in the same namespace.
    pub container: Option<&'static str>,
}

/// The name of a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Names {
    /// Always this name.
    Fixed(&'static str),
    /// This name, optionally with a prefix and a dot: Rook and ceph-csi-operator prefix their namespace.
    Prefixed(&'static str),
    /// Chosen at installation; begins with this by convention.
    Beginning(&'static str),
}

const fn fixed(name: &'static str, container: &'static str) -> Preset {
    Preset {
        names: Names::Fixed(name),
        container: Some(container),
    }
}

const fn prefixed(name: &'static str, container: &'static str) -> Preset {
    Preset {
        names: Names::Prefixed(name),
        container: Some(container),
    }
}

const fn without_locks(name: &'static str) -> Preset {
    Preset {
        names: Names::Fixed(name),
        container: None,
    }
}

/// Names and containers as in each project's manifests or chart.
const PRESETS: [Preset; 19] = [
    prefixed("rbd.csi.ceph.com", "csi-rbdplugin"),
    prefixed("cephfs.csi.ceph.com", "csi-cephfsplugin"),
    prefixed("nfs.csi.ceph.com", "csi-nfsplugin"),
    Preset {
        names: Names::Beginning("org.democratic-csi."),
        container: Some("csi-driver"),
    },
    fixed("csi.hpe.com", "hpe-csi-driver"),
    fixed("ebs.csi.aws.com", "ebs-plugin"),
    fixed("pd.csi.storage.gke.io", "gce-pd-driver"),
    fixed("filestore.csi.storage.gke.io", "gcp-filestore-driver"),
    fixed("disk.csi.azure.com", "azuredisk"),
    fixed("file.csi.azure.com", "azurefile"),
    fixed("nfs.csi.k8s.io", "nfs"),
    fixed("smb.csi.k8s.io", "smb"),
    // The containers of these two only tell their pods apart: they refuse no operation because of another one.
    fixed("zfs.csi.openebs.io", "openebs-zfs-plugin"),
    fixed("local.csi.openebs.io", "openebs-lvm-plugin"),
    fixed("io.openebs.csi-mayastor", "csi-controller"),
    fixed("linodebs.csi.linode.com", "csi-linode-plugin"),
    // They wait, and refuse no operation because of another one.
    without_locks("driver.longhorn.io"),
    without_locks("topolvm.io"),
    without_locks("linstor.csi.linbit.com"),
];

impl Preset {
    fn is_of(&self, driver: &str) -> bool {
        match self.names {
            Names::Fixed(name) => driver == name,
            Names::Prefixed(name) => driver
                .strip_suffix(name)
                .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.')),
            Names::Beginning(name) => driver.starts_with(name),
        }
    }
}

/// The preset of `driver`.
pub fn preset(driver: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.is_of(driver))
}

/// Whether the provisioner of a StorageClass is a CSI driver, judged by its name: CSI drivers have domain names without a
/// slash (CSI specification, `GetPluginInfo`). Those of Kubernetes and of most others have a slash, such as
/// `rancher.io/local-path`.
pub fn is_csi(provisioner: &str) -> bool {
    !provisioner.is_empty() && !provisioner.contains('/')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("rbd.csi.ceph.com", Some("csi-rbdplugin"))]
    #[case("rook-ceph.rbd.csi.ceph.com", Some("csi-rbdplugin"))]
    #[case("xrbd.csi.ceph.com", None)]
    #[case("storage.cephfs.csi.ceph.com", Some("csi-cephfsplugin"))]
    #[case("org.democratic-csi.iscsi", Some("csi-driver"))]
    #[case("ebs.csi.aws.com", Some("ebs-plugin"))]
    #[case("pd.csi.storage.gke.io", Some("gce-pd-driver"))]
    #[case("disk.csi.azure.com", Some("azuredisk"))]
    #[case("nfs.csi.k8s.io", Some("nfs"))]
    #[case("zfs.csi.openebs.io", Some("openebs-zfs-plugin"))]
    #[case("local.csi.openebs.io", Some("openebs-lvm-plugin"))]
    #[case("io.openebs.csi-mayastor", Some("csi-controller"))]
    #[case("driver.longhorn.io", None)]
    #[case("topolvm.io", None)]
    #[case("linstor.csi.linbit.com", None)]
    #[case("made-up.example.com", None)]
    fn known_drivers_have_a_container(#[case] driver: &str, #[case] container: Option<&str>) {
        assert_eq!(
            preset(driver).and_then(|preset| preset.container),
            container
        );
    }

    #[test]
    fn every_preset_matches_its_own_driver() {
        for known in &PRESETS {
            let (Names::Fixed(name) | Names::Prefixed(name) | Names::Beginning(name)) = known.names;
            assert_eq!(preset(name), Some(known));
            assert!(is_csi(name), "{name}");
        }
    }

    #[rstest]
    #[case("kubernetes.io/no-provisioner")]
    #[case("rancher.io/local-path")]
    #[case("cluster.local/nfs-subdir-external-provisioner")]
    #[case("")]
    fn other_provisioners_are_no_csi_drivers(#[case] provisioner: &str) {
        assert!(!is_csi(provisioner));
    }
}
