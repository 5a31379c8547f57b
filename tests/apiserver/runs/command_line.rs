//! A person at the command line: prints the plan, runs it, inspects the result, and aborts.

use std::process::{Command, Stdio};

use locksmith::api::remediation::Phase;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::command::{locksmith, said};
use crate::support::stage::{Settings, Stage};
use crate::testbed::Event;

/// A file with the daemon's configuration, for the commands that plan.
fn config(settings: &Settings) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings.yaml()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn plan_command_writes_nothing() {
    let stage = Stage::jammed().await;
    let kubeconfig = stage.user().kubeconfig();
    let config = config(&Settings::default());
    let config = config.path().to_str().unwrap();

    let shown = locksmith(kubeconfig, &["plan", "--config", config]).await;
    let text = said(&shown);
    assert_eq!(shown.status.code(), Some(0), "{text}");
    for wanted in [
        "  The run holds 20 sources",
        "gates are open.",
        "  + media: ",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("  uid "), "{text}");

    let shown = locksmith(kubeconfig, &["plan", "--details", "--config", config]).await;
    let text = said(&shown);
    assert_eq!(shown.status.code(), Some(0), "{text}");
    for wanted in [
        "    one SnapshotHold: the API server refuses snapshots and clones of 20 sources",
        "  + media: ",
        "  - VolumeSnapshot media/",
        "  ~ Deployment rook-ceph/csi-rbdplugin-provisioner",
        "  open    blastRadius",
        "nothing was written",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("leadership"), "{text}");

    // In a mode that does not act, the plan is the same, and gate `mode` is closed.
    let observe = Settings {
        mode: "observe",
        ..Settings::default()
    };
    let observe = self::config(&observe);
    let observe = observe.path().to_str().unwrap();
    let refused = locksmith(kubeconfig, &["plan", "-o", "json", "--config", observe]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let all: Value = serde_json::from_slice(&refused.stdout).unwrap();
    let all = &all["items"];
    let gates = all[0]["gates"].as_array().unwrap();
    let closed = gates.iter().filter(|gate| gate["open"] == false);
    let closed: Vec<_> = closed.map(|gate| &gate["gate"]).collect();
    assert!(closed.contains(&&Value::from("mode")), "{closed:?}");
    assert_eq!(all[0]["plan"]["steps"].as_array().unwrap().len(), 5);

    let unknown = locksmith(kubeconfig, &["plan", "heal"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("the configuration has csi-operation-locks"));
    let writes: Vec<Event> = stage.writes().await;
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_command_creates_and_follows_a_run() {
    let stage = Stage::jammed().await;
    let settings = Settings::default();
    let _daemon = stage.daemon(&settings).await;
    let kubeconfig = stage.testbed.kubeconfig();
    let config = config(&settings);
    let config = config.path().to_str().unwrap();

    let unasked = locksmith(kubeconfig, &["run", "--config", config]).await;
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));
    assert!(said(&unasked).contains("pass --yes"), "{}", said(&unasked));

    let ran = locksmith(kubeconfig, &["run", "--yes", "--config", config]).await;
    let text = said(&ran);
    assert_eq!(ran.status.code(), Some(0), "{text}");
    let told = ["suspendSources", "4 claims Bound", "repaired and verified"];
    let at = told.map(|part| {
        text.rfind(part)
            .unwrap_or_else(|| panic!("{part} in {text}"))
    });
    assert!(at.is_sorted(), "{text}");
    stage.pending_are_bound().await;

    let name = locksmith(kubeconfig, &["runs", "-o", "json"]).await;
    let runs: Value = serde_json::from_slice(&name.stdout).unwrap();
    let name = runs["items"][0]["metadata"]["name"].as_str().unwrap();
    let described = locksmith(kubeconfig, &["describe", name]).await;
    let text = said(&described);
    for wanted in [
        "by admin",
        "phase     Succeeded",
        "verifyProvisioning, attempt 1: Succeeded",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    let yaml = locksmith(kubeconfig, &["describe", name, "-o", "yaml"]).await;
    assert!(said(&yaml).contains("kind: Remediation"), "{}", said(&yaml));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn interrupted_run_command_releases_the_holds() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        settle: "1h",
        deadline: "2h",
        ..Settings::default()
    };
    let _daemon = stage.daemon(&settings).await;
    let config = config(&settings);
    let running = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(["run", "--yes", "--config"])
        .arg(config.path())
        .arg("--kubeconfig")
        .arg(stage.testbed.kubeconfig())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    stage.first_hold().await;
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    let ended = tokio::task::spawn_blocking(|| running.wait_with_output().unwrap());
    let ended = ended.await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    assert!(
        said(&ended).contains("its holds are being released"),
        "{}",
        said(&ended)
    );
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Aborted, "{status:#?}");
    stage.released().await;
}

#[test]
#[ignore = "needs kubectl: ./tests/run"]
fn binary_works_as_a_kubectl_plugin() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-locksmith");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_locksmith"), plugin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let shown = Command::new("kubectl")
        .args(["locksmith", "check-config", "deploy/locksmith.yaml"])
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", said(&shown));
}
