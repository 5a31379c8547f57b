//! `locksmith check` on a real API server, with the rights of the daemon, a real Prometheus and a real Alertmanager.
//!
//! Set-up: the manifests of mode act, a daemon that leads, the shipped rules and routes. Asserted:
//! 1. before any fault, every check passes: as the daemon's account, as the administrator by `--as`, and with `--pre`;
//! 2. each of fourteen faults, one after the other, is found by its own check and by no other;
//! 3. once a fault is undone, every check passes again;
//! 4. no trial hold is left.

use std::time::Instant;

use kube::CustomResourceExt;
use locksmith::api::volsync::ReplicationSource;

use crate::support::check_faults::{Cluster, Faults};
use crate::support::monitors::Places;
use crate::support::stage::{Rights, Settings, Setup, Stage};
use crate::testbed::figure;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn check_finds_each_fault_by_its_own_check_alone() {
    let stage = Stage::jammed_with(Setup {
        rights: Rights::Installed("act"),
        // A separate control plane, as definitions are changed and deleted.
        sources: Some(ReplicationSource::crd()),
        ..Setup::default()
    })
    .await;
    let settings = Settings::default();
    let daemon = stage.daemon(&settings).await;
    let cluster = Cluster {
        admin: &stage.testbed,
        daemon: stage.user(),
        account: &stage.user,
        provisioner: "csi-rbdplugin-provisioner",
    };
    let places = Places::new();
    let settings = Settings {
        alertmanager: format!("{{url: '{}'}}", places.alertmanager()),
        prometheus: format!("{{url: '{}'}}", places.prometheus()),
        ..settings
    };
    let config = settings.yaml() + "\ndrivers: [{name: '*.rbd.csi.ceph.com'}]\n";
    let faults = Faults::start(cluster, &daemon, places, &config).await;
    let begun = Instant::now();
    let found = faults.all().await;
    assert_eq!(found, 14);
    figure(&format!(
        "check: {found} faults found in {:.1?}",
        begun.elapsed()
    ));
}
