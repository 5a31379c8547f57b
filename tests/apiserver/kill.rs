//! The process is killed after each write it makes, all of them: the run is finished all the same, nothing is done
//! twice, and nothing stays held.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use locksmith::api::remediation::Phase;
use locksmith::api::volsync::ReplicationSource;
use rstest::rstest;

use crate::daemon::notification;
use crate::lives::{Death, Life};
use crate::stage::{DRIVER, Settings, Stage};

/// More than a run needs, however often it is begun again: something is written for ever.
const TOO_MANY: usize = 600;

/// So many lives, each of which begins with a start and full lists, take some minutes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(900);

#[rstest]
#[case::unheard(Death { at: 1, answered: false, events: false })]
#[case::heard(Death { at: 1, answered: true, events: false })]
#[case::in_the_middle_of_several(Death { at: 7, answered: false, events: true })]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_process_that_dies_after_each_write_finishes_the_run(#[case] death: Death) {
    let stage = Stage::jammed().await;
    // Holds outlast this test, so that none is released for its age.
    let settings = Settings {
        deadline: "1h",
        ..Settings::default()
    };
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    let begun = Instant::now();
    let (mut told, mut lives, mut writes) = (false, 0, Vec::new());
    let finished = stage.finished_within(PATIENCE);
    tokio::pin!(finished);
    let status = loop {
        let life = Life::begin(&stage, &settings, death).await;
        let status = tokio::select! {
            () = life.lived(&mut told, &alert) => None,
            status = &mut finished => Some(status),
        };
        lives += 1;
        writes.extend(life.writes());
        assert!(
            writes.len() < TOO_MANY,
            "{}\n{writes:#?}",
            life.daemon.log_text()
        );
        if let Some(status) = status {
            break status;
        }
    };
    let took = begun.elapsed();
    println!(
        "{death:?}: {} writes in {lives} lives, {took:?}",
        writes.len()
    );
    assert!(lives > 10, "it hardly died: {writes:#?}");
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{status:#?}"
    );
    stage.pending_are_bound().await;
    let stuck = stage.jam.stuck_snapshots.iter().map(|one| one.uid.clone());
    assert_eq!(stage.destroyed().await, stuck.collect::<BTreeSet<_>>());
    let left = stage.list::<ReplicationSource>().await;
    let left: BTreeSet<_> = left.iter().filter_map(ResourceExt::uid).collect();
    let missing = |source: &&locksmith::demo::scenario::Identity| !left.contains(&source.uid);
    assert_eq!(stage.jam.sources.iter().find(missing), None);

    // What is held until its app runs is released once its run is gone, though nobody saw it go.
    assert!(!stage.held().await.is_empty());
    stage.forget_run().await;
    let _last = Life::begin(&stage, &settings, Death::NEVER).await;
    stage.released().await;
}
