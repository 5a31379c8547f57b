//! A mode in, the objects that Helm and kustomize make for it out.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where everything is installed in these tests.
pub const NAMESPACE: &str = "volsync-locksmith";

/// A tool that tests/testbed/build has built.
pub fn tool(name: &str) -> PathBuf {
    let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/build"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success());
    let directory = String::from_utf8(built.stdout).unwrap();
    PathBuf::from(directory.trim()).join("bin").join(name)
}

/// What `helm template` prints with these values set, as text.
pub fn helm(values: &[&str]) -> String {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", "locksmith", "deploy/chart", "--namespace"]);
    helm.arg(NAMESPACE);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    output(helm)
}

/// What `kubectl kustomize` prints of a directory, as text.
pub fn kustomize(directory: &str) -> String {
    let mut kubectl = Command::new(tool("kubectl"));
    kubectl.args(["kustomize", directory]);
    output(kubectl)
}

/// The objects in `yaml`.
pub fn objects(yaml: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    objects.into_iter().filter(|it| !it.is_null()).collect()
}

fn output(mut command: Command) -> String {
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
