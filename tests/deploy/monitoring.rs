//! Whatever alerts/ and dashboards/ hold is installed, under the names it has there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::path;
use crate::render::{NAMESPACE, helm, kustomize, objects};

/// Where Helm and kustomize both find them.
const DIRECTORY: &str = "deploy/chart/monitoring";

/// The files of a directory of this repository whose names end so, by name; none where there is no such directory.
fn files(directory: &str, end: &str) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(path(directory)) else {
        return BTreeMap::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(end))
        .map(|name| {
            let text = std::fs::read_to_string(path(directory).join(&name)).unwrap();
            (name, text)
        })
        .collect()
}

/// One PrometheusRule of all groups.
fn prometheus_rule(rules: &BTreeMap<String, String>) -> String {
    let mut groups = Vec::new();
    for (file, text) in rules {
        let mut rules: Value = serde_saphyr::from_str(text).unwrap();
        let found = rules["groups"].as_array_mut();
        groups.append(found.unwrap_or_else(|| panic!("alerts/{file} has no groups")));
    }
    let object = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "locksmith",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "locksmith"},
        },
        "spec": {"groups": groups},
    });
    let yaml = serde_saphyr::to_string(&object).unwrap();
    format!("# Generated from alerts/: see tests/deploy.\n{yaml}")
}

/// The kustomize component over this directory.
fn component(dashboards: &BTreeMap<String, String>) -> String {
    let mut file = "# Generated: see tests/deploy. A component, as it needs the kinds of the Prometheus Operator.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [servicemonitor.yaml, prometheusrule.yaml]
"
    .to_owned();
    if dashboards.is_empty() {
        return file;
    }
    file += "# For the sidecar of the Grafana chart.
configMapGenerator:
  - name: locksmith-dashboards
    namespace: volsync-locksmith
    options:
      disableNameSuffixHash: true
      labels:
        app.kubernetes.io/name: locksmith
        grafana_dashboard: \"1\"
    files:
";
    for name in dashboards.keys() {
        writeln!(file, "      - {name}").unwrap();
    }
    file
}

#[test]
fn the_rules_and_dashboards_installed_are_those_of_their_directories() {
    let dashboards = files("dashboards", ".json");
    let mut wanted = dashboards.clone();
    let rule = prometheus_rule(&files("alerts", ".rules.yaml"));
    wanted.insert("prometheusrule.yaml".to_owned(), rule);
    wanted.insert("kustomization.yaml".to_owned(), component(&dashboards));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for name in files(DIRECTORY, ".json").keys() {
            std::fs::remove_file(path(DIRECTORY).join(name)).unwrap();
        }
        for (name, text) in &wanted {
            std::fs::write(path(DIRECTORY).join(name), text).unwrap();
        }
    }
    let mut found = files(DIRECTORY, "");
    assert!(found.remove("servicemonitor.yaml").is_some());
    let names: Vec<_> = found.keys().collect();
    assert_eq!(names, wanted.keys().collect::<Vec<_>>());
    for (name, text) in wanted {
        assert!(
            found[&name] == text,
            "{DIRECTORY}/{name} is out of date: UPDATE_DOCS=1 cargo test --test deploy"
        );
    }
}

#[test]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn helm_and_kustomize_monitor_the_same() {
    let sorted = |mut objects: Vec<Value>| {
        objects.sort_by_key(|object| object["kind"].to_string());
        objects
    };
    let off = objects(&helm(&[]));
    let mut on = objects(&helm(&["monitoring.enabled=true"]));
    on.retain(|object| !off.contains(object));
    assert_eq!(sorted(on), sorted(objects(&kustomize(DIRECTORY))));
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn prometheus_finds_and_reaches_it() {
    let values = [
        "monitoring.enabled=true",
        "monitoring.labels.release=stack",
        "tlsSecret=certificate",
        "auth.tokenSecret=tokens",
        "auth.metrics=true",
    ];
    let objects = objects(&helm(&values));
    let of = |kind: &str| objects.iter().find(|it| it["kind"] == kind).unwrap();
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        assert_eq!(of(kind)["metadata"]["labels"]["release"], "stack", "{kind}");
    }
    let monitor = of("ServiceMonitor");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["honorLabels"], true);
    assert_eq!(endpoint["scheme"], "https");
    let ca = json!({"secret": {"name": "certificate", "key": "ca.crt"}});
    let server = format!("locksmith.{NAMESPACE}.svc");
    assert_eq!(
        endpoint["tlsConfig"],
        json!({"ca": ca, "serverName": server})
    );
    let token = json!({"credentials": {"name": "tokens", "key": "token"}});
    assert_eq!(endpoint["authorization"], token);
    let service = of("Service");
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    let selected = &monitor["spec"]["selector"]["matchLabels"];
    assert_eq!(selected, &service["metadata"]["labels"]);
}
