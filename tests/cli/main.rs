//! The program as a process: what needs no cluster, and what it says when there is none.

// A helper fails as a test does: by panicking.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

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
fn the_annotated_configuration_is_good() {
    let said = locksmith(&["check-config", "deploy/locksmith.yaml"]);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(
        text(&said.stdout),
        "deploy/locksmith.yaml: good, mode observe\n"
    );
}

#[test]
fn each_fault_of_a_configuration_is_told_with_its_path() {
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
fn the_definition_is_printed_as_it_is_deployed() {
    let said = locksmith(&["crd"]);
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(text(&said.stdout), include_str!("../../deploy/crd.yaml"));
}

#[test]
fn without_a_cluster_status_says_where_it_looked_for_one() {
    let said = locksmith(&["status"]);
    assert_eq!(said.status.code(), Some(2));
    let error = text(&said.stderr);
    assert!(error.starts_with("error: no cluster to talk to: ") && error.contains("--kubeconfig"));
    assert!(said.stdout.is_empty());
}

#[test]
fn a_configuration_that_cannot_be_read_stops_the_daemon_before_anything_else() {
    let said = locksmith(&["serve", "--config", "/nowhere/locksmith.yaml"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(
        text(&said.stderr).contains("failed to read the configuration /nowhere/locksmith.yaml")
    );
}
