//! The process is killed after each write it makes, all of them: the run is finished all the same, nothing is done
//! twice, and nothing stays held.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::api::volsync::ReplicationSource;

use crate::daemon::notification;
use crate::lives::{Death, Life};
use crate::small_jam::SmallJam;
use crate::stage::{DRIVER, NAMESPACE, Settings, Stage, is_held};

/// More lives than a run has writes: something is written for ever.
const TOO_MANY: usize = 400;

/// Holds last longer than these tests.
fn settings() -> Settings {
    Settings {
        deadline: "1h",
        ..Settings::default()
    }
}

/// The run is deleted while nobody watches: whoever comes next releases what it held.
async fn forget_run(stage: &Stage) {
    let api: Api<Remediation> = Api::namespaced(stage.testbed.client(), NAMESPACE);
    for run in stage.list::<Remediation>().await {
        api.delete(&run.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn released(stage: &Stage) {
    stage
        .until::<ReplicationSource>("every source to be released", |all| {
            all.iter().all(|one| !is_held(&**one))
        })
        .await;
    stage
        .until::<PersistentVolumeClaim>("every claim to be released", |all| {
            all.iter().all(|one| !is_held(&**one))
        })
        .await;
    stage.nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_process_that_dies_after_each_write_finishes_the_run() {
    let stage = Stage::jammed().await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    let death = Death {
        at: 1,
        answered: false,
        events: false,
    };
    let begun = Instant::now();
    let (mut told, mut writes) = (false, Vec::new());
    let finished = stage.finished_within(Duration::from_secs(600));
    tokio::pin!(finished);
    let status = loop {
        let life = Life::begin(&stage, &settings(), death).await;
        let status = tokio::select! {
            () = life.lived(&mut told, &alert) => None,
            status = &mut finished => Some(status),
        };
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
    println!("{} writes, one a life, {:?}", writes.len(), begun.elapsed());
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{status:#?}"
    );
    stage.pending_are_bound().await;
    let stuck: BTreeSet<_> = stage
        .jam
        .stuck_snapshots
        .iter()
        .map(|one| one.uid.clone())
        .collect();
    assert_eq!(stage.destroyed().await, stuck);
    let sources: BTreeSet<_> = stage
        .list::<ReplicationSource>()
        .await
        .iter()
        .map(|one| one.uid().unwrap())
        .collect();
    assert!(
        stage
            .jam
            .sources
            .iter()
            .all(|source| sources.contains(&source.uid))
    );

    // What is held back until its app runs goes when its run does.
    assert!(!stage.held().await.is_empty());
    forget_run(&stage).await;
    let _last = Life::begin(&stage, &settings(), Death::NEVER).await;
    released(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn a_single_death_after_any_write_changes_nothing() {
    let stage = Stage::calm().await;
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    let jam = SmallJam::prepare(&stage).await;
    let begun = Instant::now();
    let mut doomed = BTreeSet::new();
    for number in 1.. {
        doomed.extend(jam.again(number).await);
        let death = Death {
            at: number,
            answered: number % 2 == 0,
            events: true,
        };
        let mut told = false;
        let first = Life::begin(&stage, &settings(), death).await;
        let died = tokio::select! {
            () = first.lived(&mut told, &alert) => true,
            _ = stage.finished() => false,
        };
        let made = first.writes();
        drop(first);
        let second = Life::begin(&stage, &settings(), Death::NEVER).await;
        let status = tokio::select! {
            () = second.lived(&mut told, &alert) => panic!("it ended:\n{}", second.daemon.log_text()),
            status = stage.finished() => status,
        };
        assert_eq!(
            status.phase,
            Phase::Succeeded,
            "after {made:#?}: {status:#?}\n{}",
            second.daemon.log_text()
        );
        assert!(
            status.verdict.iter().all(|check| check.passed),
            "{status:#?}"
        );
        assert_eq!(stage.destroyed().await, doomed, "after {made:#?}");
        forget_run(&stage).await;
        released(&stage).await;
        println!(
            "{number}: {death:?} at {:?}, {:?}",
            made.last(),
            begun.elapsed()
        );
        if !died {
            assert!(number > 10, "a run has more writes than {number}");
            break;
        }
    }
}
