//! A mode in, the objects that Helm and kustomize make for it out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
    output(template(values))
}

/// What Helm says of values that it refuses.
pub fn refused(values: &[&str]) -> String {
    let output = template(values).output().unwrap();
    assert!(!output.status.success(), "{values:?} are taken");
    String::from_utf8(output.stderr).unwrap()
}

fn template(values: &[&str]) -> Command {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", "locksmith", "deploy/chart", "--namespace"]);
    helm.arg(NAMESPACE);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    helm.current_dir(env!("CARGO_MANIFEST_DIR"));
    helm
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

/// Whether it says who may do what.
pub fn gives_rights(object: &Value) -> bool {
    let kinds = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ];
    kinds.iter().any(|kind| object["kind"] == *kind)
}

/// `kubectl apply`, with these flags beside; what it says of each object, and fails on any warning.
pub fn apply_with(kubeconfig: &Path, objects: &[Value], flags: &[&str]) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&mut file, &list).unwrap();
    let mut kubectl = Command::new(tool("kubectl"));
    kubectl.args([
        "apply",
        "--server-side",
        "--validate=strict",
        "--kubeconfig",
    ]);
    kubectl
        .arg(kubeconfig)
        .args(flags)
        .arg("--warnings-as-errors");
    kubectl.arg("--filename").arg(file.path());
    output(kubectl)
}

/// `kubectl apply`.
pub fn apply(kubeconfig: &Path, objects: &[Value]) {
    apply_with(kubeconfig, objects, &[]);
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
