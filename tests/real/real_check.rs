//! `locksmith check` on the real stack: every check passes, and each of the faults in [`crate::check_faults`] is found.
//!
//! Beside the tests on an API server alone, sidecars hold the leases and restart, and VolSync runs.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::check_faults::{Cluster, Faults};
use crate::healing::config;
use crate::layout::{Layout, Pace};
use crate::monitors::Places;
use crate::render::NAMESPACE;
use crate::stack::Stack;
use crate::testbed::figure;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn check_passes_on_the_real_stack_and_finds_each_fault() {
    let layout = Layout::CLASSIC_V6;
    let stack = Stack::start(layout, Pace::SHORT, BTreeSet::new()).await;
    let config = config("60s");
    let daemon = stack.locksmith(&config).await;
    let account = format!("system:serviceaccount:{NAMESPACE}:locksmith");
    let cluster = Cluster {
        admin: &stack.testbed,
        daemon: &stack.daemon,
        account: &account,
        provisioner: layout.name,
    };
    let places = Places::new();
    let config = format!(
        "{config}drivers: [{{name: '*.rbd.csi.ceph.com'}}]\nalertmanager: {{url: '{}'}}\nprometheus: {{url: '{}'}}\n",
        places.alertmanager(),
        places.prometheus()
    );
    let faults = Faults::start(cluster, &daemon, places, &config).await;
    let begun = Instant::now();
    let found = faults.all().await;
    assert_eq!(found, 14);
    figure(&format!(
        "real stack, check: {found} faults found in {:.1?}",
        begun.elapsed()
    ));
}
