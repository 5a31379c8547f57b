//! What a cluster owner installs: the chart and the kustomizations say the same, and carry what is shipped.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../testbed/tools.rs"]
mod tools;

use std::collections::BTreeMap;
use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};
use tools::{helm, kubectl};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The objects of a YAML stream, by kind, namespace and name, without what each of the two adds of its own.
fn objects(stream: &str) -> BTreeMap<String, Value> {
    let mut objects = BTreeMap::new();
    for document in stream.split("\n---") {
        let document = document.trim_start_matches("---");
        let Ok(mut object) = serde_saphyr::from_str::<Value>(document) else {
            panic!("cannot be read:\n{document}");
        };
        if object.is_null() {
            continue;
        }
        plain(&mut object);
        let part = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let key = [
            part("/kind"),
            part("/metadata/namespace"),
            part("/metadata/name"),
        ]
        .join(" ");
        objects.insert(key, object);
    }
    objects
}

fn plain(object: &mut Value) {
    if object["kind"] == "ConfigMap"
        && let Some(config) = object.pointer("/data/config.yaml").and_then(Value::as_str)
    {
        let config = locksmith::config::parse(config).unwrap();
        // kustomize names it after its content, and the Deployment with it; Helm annotates the Deployment instead.
        object["metadata"]["name"] = json!("locksmith-config");
        object["data"]["config.yaml"] = json!(format!("{config:?}"));
    }
    if let Some(volume) = object.pointer_mut("/spec/template/spec/volumes/0/configMap/name") {
        *volume = json!("locksmith-config");
    }
    if let Some(metadata) = object
        .pointer_mut("/spec/template/metadata")
        .and_then(Value::as_object_mut)
    {
        metadata.remove("annotations");
    }
    if let Some(container) = object
        .pointer_mut("/spec/template/spec/containers/0")
        .and_then(Value::as_object_mut)
    {
        // The API server's default for a tag.
        container
            .entry("imagePullPolicy")
            .or_insert(json!("IfNotPresent"));
    }
    if let Some(labels) = object
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("helm.sh/chart");
        labels.remove("app.kubernetes.io/managed-by");
    }
}

#[rstest]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn the_chart_and_the_kustomization_are_the_same(#[values("observe", "act")] mode: &str) {
    let directory = tempfile::tempdir_in(Path::new(ROOT).join("deploy/overlays")).unwrap();
    let with_monitoring =
        format!("resources: [../{mode}]\ncomponents: [../../components/monitoring]\n");
    std::fs::write(directory.path().join("kustomization.yaml"), with_monitoring).unwrap();
    let mut kustomized = objects(&kubectl(&["kustomize", directory.path().to_str().unwrap()]));
    // Helm makes the namespace by --create-namespace.
    assert!(kustomized.remove("Namespace  locksmith").is_some());
    let set = format!("mode={mode},monitoring.enabled=true,releaseOnUninstall=false");
    let chart = Path::new(ROOT).join("deploy/chart");
    let chart = chart.to_str().unwrap();
    let templated = helm(&[
        "template",
        "locksmith",
        chart,
        "-n",
        "locksmith",
        "--include-crds",
        "--set",
        &set,
    ]);
    let templated = objects(&templated);
    let keys = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&templated), keys(&kustomized));
    for (key, object) in &kustomized {
        // CRDs are as they are in both, so that kustomize's label is all that differs.
        if !key.starts_with("CustomResourceDefinition") {
            assert_eq!(&templated[key], object, "{key}");
        }
    }
}

#[rstest]
#[case("mode=acts", "mode")]
#[case("replicas=0", "replicas")]
#[case("config.mode=act", "config")]
#[case("typo=1", "typo")]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn the_chart_refuses_values_it_does_not_know(#[case] set: &str, #[case] named: &str) {
    let chart = Path::new(ROOT).join("deploy/chart");
    let refused = tools::run(
        "helm",
        &["template", "x", chart.to_str().unwrap(), "--set", set],
    );
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(named), "{said}");
}

#[test]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn an_uninstall_releases_what_is_held_where_it_may_be() {
    let chart = Path::new(ROOT).join("deploy/chart");
    let hooks = |mode: &str| {
        let set = format!("mode={mode}");
        let all = helm(&[
            "template",
            "locksmith",
            chart.to_str().unwrap(),
            "--set",
            &set,
        ]);
        objects(&all)
            .into_iter()
            .filter(|(key, _)| key.starts_with("Job"))
            .collect::<Vec<_>>()
    };
    assert_eq!(hooks("observe"), []);
    let [(_, job)] = &hooks("act")[..] else {
        panic!("not one Job")
    };
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["args"],
        json!(["release", "--all", "--abort-runs"])
    );
}

/// Kustomize cannot wrap a file: the object is made from the rule files, and held to them here.
#[test]
fn the_prometheus_rule_holds_the_shipped_rules() {
    let file = Path::new(ROOT).join("deploy/components/monitoring/prometheusrule.yaml");
    let mut wanted = "\
# Made from alerts/*.rules.yaml: UPDATE_DOCS=1 cargo test --test deploy
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: locksmith
  namespace: locksmith
  labels: {app.kubernetes.io/name: locksmith}
spec:
  groups:
"
    .to_owned();
    let mut rules: Vec<_> = std::fs::read_dir(Path::new(ROOT).join("alerts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(".rules.yaml"))
        .collect();
    rules.sort();
    assert_eq!(rules.len(), 2);
    for path in rules {
        let text = std::fs::read_to_string(path).unwrap();
        let (_, groups) = text.split_once("\ngroups:\n").unwrap();
        for line in groups
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            if !line.is_empty() {
                wanted += "  ";
                wanted += line;
            }
            wanted.push('\n');
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let shown = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        shown, wanted,
        "UPDATE_DOCS=1 cargo test --test deploy writes it anew"
    );
}
