//! The program's wall clock jumps; its monotonic clock, and all other clocks, do not. By libfaketime, which reads the
//! offset from a file.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::cluster::leader::LEASE_NAME;
use rstest::rstest;
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::stage::{DRIVER, NAMESPACE, Settings, Stage};
use crate::testbed::Event;

/// The library, which Debian installs in a directory named after the architecture.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap();
    let found = places
        .map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.is_file());
    found.expect("libfaketime is not installed: ./tests/run")
}

/// A clock that can be set.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Sets the offset in seconds.
    fn set(&self, seconds: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, format!("{seconds}\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    async fn daemon(&self, stage: &Stage, settings: &Settings) -> Daemon {
        let (library, file) = (library(), self.file());
        let variables = [
            ("LD_PRELOAD", library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.as_os_str()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
            // Timestamps of files are not changed.
            ("NO_FAKE_STAT", "1".as_ref()),
        ];
        stage.daemon_as(stage.user(), settings, &variables).await
    }
}

fn is_destructive(event: &Event) -> bool {
    event.verb == "delete" || event.resource == "deployments"
}

async fn transitions(stage: &Stage) -> Option<i32> {
    let lease = stage.api::<Lease>(NAMESPACE).get(LEASE_NAME).await.unwrap();
    lease.spec?.lease_transitions
}

/// The wall clock jumps an hour ahead, or back, during a run: the run waits and deletes nothing, its holds are released
/// when a person aborts it and not before, leadership is kept, and after the jump the cooldown lasts as long as without
/// one.
#[rstest]
#[case::ahead("+3600", "+10800")]
#[case::back("-3600", "+0")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_clock_jump(#[case] jump: &str, #[case] later: &str) {
    let stage = Stage::jammed().await;
    let clock = Clock::new();
    let settings = Settings {
        deadline: "4h",
        // Longer than any machine takes to make the clock jump, and shorter than the jump: it would seem to be over.
        settle: "30m",
        cooldown: "30m",
        ..Settings::default()
    };
    let daemon = clock.daemon(&stage, &settings).await;
    let term = transitions(&stage).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    clock.set(jump);
    stage
        .run_until("the run to wait for the clock", |status| {
            assert!(!status.phase.finished(), "{status:#?}");
            status.message.contains("clock: ")
        })
        .await;
    let held = stage.held().await;
    assert!(!held.is_empty());
    assert!(daemon.metrics().await["locksmith_leader"] > 0.0);

    let run = &stage.list::<Remediation>().await[0];
    let name = run.metadata.name.as_deref().unwrap();
    let abort = json!({"spec": {"abort": true}});
    stage.patch::<Remediation>(NAMESPACE, name, &abort).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Aborted, "{status:#?}");
    stage.released().await;

    clock.set(later);
    let (code, answer) = daemon
        .fire("LocksmithRestoreStuck", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    let kept = |run: &Arc<Remediation>| {
        let status = run.status.clone().unwrap_or_default();
        let first = run.metadata.name.as_deref() == Some(name);
        assert!(first || status.started_at.is_none(), "{status:#?}");
        first || status.message.contains("gate ")
    };
    stage
        .until::<Remediation>("no other run to begin", |runs| runs.iter().all(kept))
        .await;
    clock.set("+0");
    let cools = |run: &Arc<Remediation>| {
        let message = run.status.as_ref().map(|status| &*status.message);
        let message = message.unwrap_or_default();
        run.metadata.name.as_deref() == Some(name)
            || message.contains("gate cooldown: ") && !message.contains("clock: ")
    };
    stage
        .until::<Remediation>("the cooldown alone to keep it", |runs| {
            runs.iter().all(|run| kept(run) && cools(run))
        })
        .await;
    let writes = stage.writes_elsewhere().await;
    let destroyed = writes.iter().find(|event| is_destructive(event));
    assert!(destroyed.is_none(), "{destroyed:#?}");
    assert!(stage.failed_snapshots_are_untouched().await);
    assert_eq!(transitions(&stage).await, term, "leadership was lost");
}
