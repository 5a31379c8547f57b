//! `locksmith status` at the command line, against clusters in three states.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::stage::{Settings, Stage};
use crate::testbed::Testbed;

/// Runs it; the actors of the world continue meanwhile.
async fn status(kubeconfig: &Path, args: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("locksmith.yaml");
    std::fs::write(&config, Settings::default().yaml()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
    command
        .args(["status", "--kubeconfig"])
        .arg(kubeconfig)
        .arg("--config")
        .arg(&config)
        .args(args)
        .env("NO_COLOR", "1");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = run.await.unwrap();
    drop(directory);
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Kinds of the findings in the output, and their namespaces.
fn findings(output: &Output) -> (Vec<String>, BTreeSet<String>) {
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = view["findings"].as_array().unwrap();
    let word = |value: Option<&Value>| value.unwrap().as_str().unwrap().to_owned();
    let kinds = findings.iter().map(|one| word(one.get("finding")));
    let namespaces = findings
        .iter()
        .map(|one| word(one.pointer("/object/namespace")));
    (kinds.collect(), namespaces.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn status_of_a_jammed_cluster_exits_with_1() {
    let stage = Stage::jammed().await;
    // The daemon has observed everything that thresholds of a second let through.
    let settings = Settings {
        mode: "observe",
        ..Settings::default()
    };
    stage.daemon(&settings).await;
    let kubeconfig = stage.testbed.kubeconfig();

    let told = status(kubeconfig, &[]).await;
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    let table = text(&told.stdout);
    let stuck = stage.jam.stuck_snapshots.iter().chain(&stage.jam.orphaned);
    let pending = stage.jam.pending.iter().map(|pending| &pending.claim);
    for object in stuck.chain(pending) {
        assert!(table.contains(&object.name), "{} in {table}", object.name);
    }

    let told = status(kubeconfig, &["-o", "json"]).await;
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    let (kinds, namespaces) = findings(&told);
    let count = |wanted: &str| kinds.iter().filter(|kind| *kind == wanted).count();
    let counts = ["orphaned_source", "failed_snapshot", "pending_claim"].map(count);
    assert_eq!(counts, [3, 5, 4]);
    let all = ["ai", "home-automation", "media", "selfhosted"];
    assert!(namespaces.iter().eq(all), "{namespaces:?}");

    let told = status(kubeconfig, &["-n", "media", "-o", "json"]).await;
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stderr));
    assert!(findings(&told).1.iter().eq(["media"]));
    let told = status(kubeconfig, &["-n", "meida"]).await;
    assert_eq!(told.status.code(), Some(2), "{}", text(&told.stdout));
    assert!(text(&told.stderr).contains("there is no namespace meida"));
    let told = status(
        kubeconfig,
        &["-n", crate::support::stage::NAMESPACE, "-o", "json"],
    )
    .await;
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    assert!(findings(&told).0.is_empty());
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn status_without_drivers_is_in_doubt_and_exits_with_2() {
    let testbed = Testbed::start(crate::testbed::Options::default()).await;
    let told = status(testbed.kubeconfig(), &[]).await;
    let (out, err) = (text(&told.stdout), text(&told.stderr));
    assert_eq!(told.status.code(), Some(2), "{out}{err}");
    assert!(
        out.contains("names a CSI driver") && !out.contains("Nothing is"),
        "{out}"
    );
    assert_eq!(err, "");
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn status_of_an_unreachable_server_exits_with_2() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    let user = "{name: me, user: {token: t}}";
    let cluster = format!("{{name: c, cluster: {{server: 'http://{address}'}}}}");
    std::fs::write(
        &kubeconfig,
        format!("{{apiVersion: v1, kind: Config, current-context: c, clusters: [{cluster}], users: [{user}], contexts: [{{name: c, context: {{cluster: c, user: me}}}}]}}"),
    )
    .unwrap();
    let begun = Instant::now();
    let told = status(&kubeconfig, &["--timeout", "2s"]).await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    let error = text(&told.stderr);
    assert_eq!(told.status.code(), Some(2), "{error}");
    assert_eq!(text(&told.stdout), "");
    let names = format!("error: cannot reach the API server at http://{address}/: ");
    assert!(error.starts_with(&names), "{error}");
    assert!(error.contains("onnection refused"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
