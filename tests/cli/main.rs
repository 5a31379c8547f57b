//! The program as a process: commands that need no cluster, and errors without one.

// A helper fails like a test: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod cluster;
mod terminal;
mod watch;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use locksmith::demo::apiserver::{ApiServer, Options};

fn locksmith(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("LOCKSMITH_CONFIG")
        .env("KUBECONFIG", "/nowhere/config")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn annotated_configuration_is_valid() {
    let said = locksmith(&["check-config", "deploy/locksmith.yaml"]);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(
        text(&said.stdout),
        "deploy/locksmith.yaml: valid, mode observe\n"
    );
}

#[test]
fn configuration_errors_have_their_paths() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    std::fs::write(
        &file,
        "steps: {resumeSources: {batch: 0}, suspendSources: {deadline: 1s}}",
    )
    .unwrap();
    let said = locksmith(&["check-config", file.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(2));
    let faults = text(&said.stderr);
    assert_eq!(faults.lines().count(), 2, "{faults}");
    assert!(faults.contains("bad.yaml: steps.resumeSources.batch: must be at least 1"));
}

#[test]
fn crd_prints_the_deployed_crds_and_policy() {
    let said = locksmith(&["crd"]);
    assert_eq!(said.status.code(), Some(0));
    let crds = include_str!("../../deploy/crd.yaml");
    let policy = include_str!("../../deploy/hold-policy.yaml");
    assert_eq!(text(&said.stdout), format!("{crds}---\n{policy}"));
}

#[test]
fn status_without_a_cluster_names_the_searched_places() {
    let said = locksmith(&["status"]);
    assert_eq!(said.status.code(), Some(2));
    let error = text(&said.stderr);
    assert!(error.starts_with("error: no cluster configured: ") && error.contains("--kubeconfig"));
    assert!(said.stdout.is_empty());
}

#[test]
fn unreadable_configuration_stops_the_daemon() {
    let said = locksmith(&["serve", "--config", "/nowhere/locksmith.yaml"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(
        text(&said.stderr).contains("failed to read the configuration /nowhere/locksmith.yaml")
    );
}

/// A kubeconfig file for the cluster at `server`.
fn kubeconfig(server: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: '{server}'}}}}], users: [{{name: me, user: {{token: t}}}}], contexts: [{{name: c, context: {{cluster: c, user: me}}}}]}}"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn remote_cluster_is_reached_through_the_proxy() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let kubeconfig = kubeconfig("https://cluster.example:6443");
    let asked = std::thread::spawn(move || {
        let (stream, _) = proxy.accept().unwrap();
        BufReader::new(stream).lines().next().unwrap().unwrap()
    });
    let said = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(["status", "--timeout", "60s", "--kubeconfig"])
        .arg(kubeconfig.path())
        .env("HTTPS_PROXY", address)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(2), "{}", text(&said.stderr));
    let asked = asked.join().unwrap();
    assert!(
        asked.starts_with("CONNECT cluster.example:6443 "),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_cluster_is_reached_without_a_proxy() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_locksmith"));
    command
        .args(["status", "--kubeconfig"])
        .arg(&kubeconfig)
        .env("HTTPS_PROXY", "http://127.0.0.1:9");
    let said = tokio::task::spawn_blocking(move || command.output().unwrap());
    let said = said.await.unwrap();
    // Reached, but with a doubt: no class of an empty cluster names a CSI driver.
    assert_eq!(said.status.code(), Some(2), "{}", text(&said.stderr));
    let printed = text(&said.stdout);
    assert!(printed.contains("Checked: 0 claims"), "{printed}");
}

#[test]
fn manual_has_every_command_and_exit_code() {
    let said = locksmith(&["man"]);
    assert_eq!(said.status.code(), Some(0));
    let page = text(&said.stdout);
    for wanted in [
        ".SH \"LOCKSMITH STATUS\"",
        ".SH \"LOCKSMITH APPROVE\"",
        ".SH \"EXIT STATUS\"",
        "0: nothing is stuck; 1: something is stuck;",
    ] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
}

#[test]
fn completion_script_is_printed_for_each_shell() {
    for (shell, wanted) in [
        ("bash", "-F _clap_complete_locksmith locksmith"),
        ("zsh", "#compdef locksmith"),
        ("fish", "--command locksmith"),
    ] {
        let said = locksmith(&["completion", shell]);
        assert_eq!(said.status.code(), Some(0));
        assert!(text(&said.stdout).contains(wanted), "{shell}");
    }
}

#[test]
fn log_without_a_terminal_has_no_colour() {
    let kubeconfig = kubeconfig("https://127.0.0.1:9");
    let mut serving = Command::new(env!("CARGO_BIN_EXE_locksmith"))
        .args(["serve", "--log-format", "pretty", "--listen", "127.0.0.1:0"])
        .arg("--kubeconfig")
        .arg(kubeconfig.path())
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|it| it.contains("listening")));
    serving.kill().unwrap();
    serving.wait().unwrap();
    let line = line.expect("it says where it listens");
    assert!(!line.contains('\u{1b}'), "{line}");
}
