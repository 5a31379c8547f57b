//! The playbook's jam, healed by one webhook in each common layout.
//!
//! Set-up: [`crate::jam`], with the sidecars' timings shortened in proportion. Asserted for each layout:
//! 1. the run ends as Succeeded;
//! 2. every restored claim is Bound, with the same uid;
//! 3. VolSync creates no snapshot of a held source during the hold;
//! 4. the program deletes only stuck snapshots;
//! 5. at the end only the sources of stopped apps are held;
//! 6. no running mover is killed, and the program writes to no source and no claim.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::PATIENCE;
use crate::healing::{Outcome, config, heal, sees};
use crate::jam::{Hangs, copying, jam};
use crate::layout::{Layout, Pace};
use crate::stack::Stack;
use crate::testbed::figure;

async fn heals(layout: Layout) {
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();
    let stack = Stack::start(layout, Pace::SHORT, BTreeSet::from([copying()])).await;
    let started = lap();
    let jam = jam(&stack, Hangs::Once).await;
    let counts = (jam.sources, jam.stuck.len(), jam.pending.len());
    assert_eq!(counts, (20, 5, 4));
    let jammed = lap();
    let daemon = stack.locksmith(&config("40s")).await;
    sees(&daemon).await;
    let seen = lap();
    let run = heal(&stack, &daemon, PATIENCE).await;
    let healed = lap();
    let outcome = Outcome::read(&stack, &jam, run).await;
    figure(&format!(
        "real stack, {}: {}; {} of 4 claims Bound; snapshots created during the hold {}, deleted {}, wrongly deleted {}; movers killed {}; \
         writes on sources and claims {}, claims annotated {}; held {}; \
         stack up {started:.1?}, jam {jammed:.1?}, seen {seen:.1?}, run {healed:.1?}",
        layout.title,
        outcome.run.summary(),
        outcome.bound,
        outcome.created,
        outcome.deleted,
        outcome.wrongly_deleted,
        stack.node.killed_movers().len(),
        outcome.writes,
        outcome.annotated,
        outcome.held.len(),
    ));
    assert_eq!(
        outcome.run.phase(),
        "Succeeded",
        "{:#}\n{}",
        outcome.run.status,
        daemon.log_text()
    );
    assert_eq!(outcome.bound, 4);
    assert_eq!((outcome.created, outcome.wrongly_deleted), (0, 0));
    assert_eq!(outcome.held, jam.idle);
    assert_eq!(stack.node.killed_movers(), [] as [String; 0]);
    assert_eq!((outcome.writes, outcome.annotated), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_classic_rook_with_provisioner_v5() {
    heals(Layout::CLASSIC_V5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_classic_rook_with_provisioner_v6() {
    heals(Layout::CLASSIC_V6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_an_install_of_ceph_csi_operator() {
    heals(Layout::OPERATOR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_a_driver_on_the_host_network() {
    heals(Layout::HOST_NETWORK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_a_stateful_set() {
    heals(Layout::STATEFUL_SET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn heals_beside_stale_and_forged_leases() {
    heals(Layout::STRAY_LEASES).await;
}
