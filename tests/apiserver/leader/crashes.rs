//! The process is killed after each of its writes: the run finishes nevertheless, nothing is done twice, and nothing stays
//! held.
//!
//! A proxy enumerates the writes of a whole run and of the releases after it. Each write that is neither an Event nor the
//! Lease is the last of a life, twice: once with its response received, once not. Then each Event is the last write of a
//! life; and so is each renewal of the Lease after another write, where the next life has another name, as the pod of a
//! ReplicaSet does, and has to wait until that Lease has expired.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use locksmith::api::remediation::Phase;
use locksmith::api::volsync::ReplicationSource;
use rstest::rstest;

use crate::support::crash_points::{DoomedDaemon, KillOn};
use crate::support::daemon::notification;
use crate::support::stage::{DRIVER, Settings, Stage};

/// More writes than a run needs, however often it is restarted; otherwise something is written forever.
const TOO_MANY: usize = 600;

/// The lives, each with a start and full lists, take some minutes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// Consecutive lives, each with the write it died of.
struct Lives<'s> {
    stage: &'s Stage,
    settings: Settings,
    kill_on: KillOn,
    /// The writes they died of, in order.
    deaths: Vec<String>,
}

impl Lives<'_> {
    /// Starts lives until `end`, and sends the alert to each until one has accepted it.
    async fn until<T>(&mut self, end: impl Future<Output = T>, mut accepted: bool) -> T {
        let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
        tokio::pin!(end);
        loop {
            // The pod of a ReplicaSet never returns under its old name.
            let number = if self.kill_on == KillOn::Lease {
                self.deaths.len()
            } else {
                0
            };
            let name = format!("locksmith-{number}");
            let life = DoomedDaemon::start(self.stage, &self.settings, self.kill_on, &name).await;
            let ended = tokio::select! {
                () = life.run_until_killed(&mut accepted, &alert) => None,
                ended = &mut end => Some(ended),
            };
            let last = life.last_write();
            if let Some(ended) = ended {
                self.deaths.extend(last);
                return ended;
            }
            let log = || life.daemon.log_text();
            let last = last.unwrap_or_else(|| panic!("it ended by itself:\n{}", log()));
            self.deaths.push(last);
            let deaths = &self.deaths;
            assert!(deaths.len() < TOO_MANY, "{}\n{deaths:#?}", log());
        }
    }

    fn died_of(&self, write: &str) -> usize {
        let of_it = |death: &&String| death.contains(write);
        self.deaths.iter().filter(of_it).count()
    }
}

#[rstest]
#[case::before_response(KillOn::BeforeResponse)]
#[case::after_response(KillOn::AfterResponse)]
#[case::event(KillOn::Event)]
#[case::lease(KillOn::Lease)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_finishes_although_each_write_kills_the_process(#[case] kill_on: KillOn) {
    let stage = Stage::jammed().await;
    let mut lives = Lives {
        stage: &stage,
        // Holds last longer than this test, so that none is released at its deadline.
        settings: Settings {
            deadline: "1h",
            // The step lasts for several lives.
            delete_within: "5m",
            ..Settings::default()
        },
        kill_on,
        deaths: Vec::new(),
    };
    let begun = Instant::now();
    let status = lives.until(stage.finished_within(PATIENCE), false).await;
    println!(
        "{kill_on:?}: {} lives, {:?}",
        lives.deaths.len(),
        begun.elapsed()
    );
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{status:#?}"
    );
    stage.pending_are_bound().await;
    let stuck = stage.jam.stuck_snapshots.iter().map(|one| one.uid.clone());
    let stuck: BTreeSet<_> = stuck.collect();
    assert_eq!(stage.destroyed().await, stuck);
    let restarts = stage.restarts().await;
    assert_eq!(restarts.len(), status.attempt as usize, "{restarts:?}");
    let left = stage.list::<ReplicationSource>().await;
    let left: BTreeSet<_> = left.iter().filter_map(ResourceExt::uid).collect();
    let missing = |source: &&locksmith::demo::scenario::Identity| !left.contains(&source.uid);
    assert_eq!(stage.jam.sources.iter().find(missing), None);

    // A source held until its app runs is released once its run is deleted, although no process observed the deletion.
    let held = stage.held().await.len();
    assert!(held > 0);
    stage.forget_run().await;
    lives.until(stage.released_within(PATIENCE), true).await;

    match kill_on {
        // Each deletion of a stuck snapshot ends a life.
        KillOn::BeforeResponse | KillOn::AfterResponse => {
            assert_eq!(lives.died_of("/apis/volsync.backube"), 0);
            // The hold is created and patched in batches; the garbage collector deletes it with its run.
            assert!(lives.died_of("/snapshotholds") >= 2);
            assert_eq!(lives.died_of("DELETE /apis/snapshot."), stuck.len());
            assert_eq!(lives.died_of("/deployments/"), restarts.len());
            assert!(lives.died_of("/remediations") > status.steps.len());
        }
        KillOn::Event => assert!(lives.died_of("/events") > status.steps.len()),
        KillOn::Lease => assert!(lives.died_of("/leases/") > 1),
    }
}
