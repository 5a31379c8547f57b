//! The output of /metrics, checked by Prometheus's own tool.

use std::io::Write;
use std::process::{Command, Stdio};

use locksmith::api::remediation::Phase;

use crate::support::daemon::Daemon;
use crate::support::stage::{Settings, Stage};

/// Runs `promtool check metrics` on the daemon's current output.
async fn check(daemon: &Daemon) {
    let (_, body) = daemon.get("/metrics").await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: tests/run does it");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(body.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}\n{body}");
    assert_eq!(said, "", "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn promtool_accepts_metrics_before_and_after_a_run() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    check(&daemon).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    daemon
        .until("the run to be exported", |samples| {
            let held = |name: &String| name.starts_with("locksmith_remediation_held_sources{");
            samples.keys().any(held)
        })
        .await;
    check(&daemon).await;
}
