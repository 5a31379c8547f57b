//! Renders the objects of a mode with Helm and kustomize.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Namespace of the installation in these tests.
pub const NAMESPACE: &str = "volsync-locksmith";

/// A tool built by tests/testbed/build.
pub fn tool(name: &str) -> PathBuf {
    let built = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/build"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success());
    let directory = String::from_utf8(built.stdout).unwrap();
    PathBuf::from(directory.trim()).join("bin").join(name)
}

/// Output of `helm template` with these values.
pub fn helm(values: &[&str]) -> String {
    output(template(values))
}

/// Helm's error for values that it rejects.
pub fn refused(values: &[&str]) -> String {
    let output = template(values).output().unwrap();
    assert!(!output.status.success(), "{values:?} are taken");
    String::from_utf8(output.stderr).unwrap()
}

/// The objects that `helm template` renders from a values file, or its error.
pub fn with_values(values: &Value) -> Result<Vec<Value>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&mut file, values).unwrap();
    let output = template(&[]).arg("--values").arg(file.path()).output();
    let output = output.unwrap();
    if output.status.success() {
        Ok(objects(&String::from_utf8(output.stdout).unwrap()))
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// The notes of an installation with these values.
pub fn notes(values: &[&str]) -> String {
    let mut helm = Command::new(tool("helm"));
    helm.args([
        "install",
        "locksmith",
        "deploy/chart",
        "--dry-run=client",
        "--namespace",
    ]);
    helm.arg(NAMESPACE);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    let printed = output(helm);
    let notes = printed.split_once("\nNOTES:\n");
    notes
        .unwrap_or_else(|| panic!("no notes: {printed}"))
        .1
        .to_owned()
}

/// Labels of the chart that kustomize does not use: the installing tool and the release.
pub const HELM_LABELS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// Removes [`HELM_LABELS`] from an object and its pods.
pub fn without_helm_labels(object: &mut Value) {
    for at in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = object.pointer_mut(at).and_then(Value::as_object_mut) {
            labels.retain(|label, _| !HELM_LABELS.contains(&&**label));
        }
    }
}

fn template(values: &[&str]) -> Command {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", "locksmith", "deploy/chart", "--namespace"]);
    helm.arg(NAMESPACE);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    helm.current_dir(env!("CARGO_MANIFEST_DIR"));
    helm
}

/// Output of `kubectl kustomize` for a directory.
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

/// Whether it is an RBAC object.
pub fn gives_rights(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind.starts_with("ValidatingAdmissionPolicy") {
        return object["metadata"]["name"] == "locksmith-restart";
    }
    let kinds = [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    ];
    kinds.contains(&kind)
}

/// `kubectl apply` with these additional flags; returns its output, and fails on any warning.
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
