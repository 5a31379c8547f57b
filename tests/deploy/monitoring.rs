//! All files in alerts/ and dashboards/ are installed, under the same names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;
use rstest::rstest;
use serde_json::{Value, json};

use crate::path;
use crate::render::{NAMESPACE, helm, kustomize, objects, without_helm_labels};

/// Directory for both Helm and kustomize.
const DIRECTORY: &str = "deploy/chart/monitoring";

/// Files of a directory in this repository with this end of their names, by name; none without the directory.
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

/// One PrometheusRule with all groups.
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

/// The kustomize component for this directory.
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
      # Flux would take the dashboards' own variables for its own.
      annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}
    files:
";
    for name in dashboards.keys() {
        writeln!(file, "      - {name}").unwrap();
    }
    file
}

#[test]
fn installed_rules_and_dashboards_match_their_sources() {
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
    on.iter_mut().for_each(without_helm_labels);
    assert_eq!(sorted(on), sorted(objects(&kustomize(DIRECTORY))));
}

#[test]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn flux_does_not_substitute_variables_of_dashboards() {
    let mut everything = objects(&helm(&["monitoring.enabled=true"]));
    everything.extend(objects(&kustomize(DIRECTORY)));
    let mut found = 0;
    for object in &everything {
        if object.to_string().contains("${") {
            let annotations = &object["metadata"]["annotations"];
            let name = &object["metadata"]["name"];
            assert_eq!(
                annotations["kustomize.toolkit.fluxcd.io/substitute"], "disabled",
                "{name}"
            );
            found += 1;
        }
    }
    assert_eq!(found, 2, "the dashboards, by both ways");
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn prometheus_discovers_and_reaches_the_daemon() {
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
    // Not the key that the daemon reads, which has every accepted token on its own line: a header must have no line break.
    let token = json!({"credentials": {"name": "tokens", "key": "scrape"}});
    assert_eq!(endpoint["authorization"], token);
    let service = of("Service");
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object();
    for (label, value) in selected.unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value);
    }
}

/// The values that the page documents for kube-prometheus-stack.
fn documented_values() -> Vec<String> {
    let page = std::fs::read_to_string(path("deploy/docs/install.md")).unwrap();
    let mut blocks = page.split("\n\n");
    let block = blocks.find(|block| block.contains("--set monitoring.labels.release="));
    let set = Regex::new(r"--set (\S+)").unwrap();
    let values = set.captures_iter(block.expect("a command of Helm's"));
    let mut values: Vec<_> = values.map(|value| value[1].to_owned()).collect();
    values.retain(|value| !value.starts_with("image.") && !value.starts_with("mode="));
    values
}

/// The configuration in its ConfigMap, whose name may have a hash.
fn configuration(objects: &mut [Value]) -> locksmith::config::Config {
    let map = objects.iter_mut().find(|object| {
        let name = object["metadata"]["name"].as_str();
        object["kind"] == "ConfigMap" && name.unwrap().starts_with("locksmith-config")
    });
    let text = map.unwrap()["data"]["locksmith.yaml"].take();
    locksmith::config::parse(text.as_str().unwrap()).unwrap()
}

#[rstest]
#[case("observe")]
#[case("plan")]
#[case("act")]
#[ignore = "needs helm and kubectl: ./tests/run"]
fn documented_values_suit_kube_prometheus_stack(#[case] mode: &str) {
    let mut values = documented_values();
    values.push(format!("mode={mode}"));
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let mut charted = objects(&helm(&values));
    let directory = format!("deploy/overlays/kube-prometheus-stack/{mode}");
    let mut kustomized = objects(&kustomize(&directory));

    let config = configuration(&mut kustomized);
    assert_eq!(config.mode.as_str(), mode);
    assert!(config.alertmanager.url.is_some());
    assert!(configuration(&mut charted) == config);
    for objects in [&charted, &kustomized] {
        let found = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
        for kind in ["ServiceMonitor", "PrometheusRule"] {
            let object = found(kind).unwrap_or_else(|| panic!("{mode}: no {kind}"));
            let label = &object["metadata"]["labels"]["release"];
            assert_eq!(label, "kube-prometheus-stack", "{mode}: {kind}");
        }
        let dashboards = |object: &&Value| {
            object["metadata"]["labels"]["grafana_dashboard"] == "1"
                && object["data"]["locksmith.json"].is_string()
        };
        assert_eq!(objects.iter().filter(dashboards).count(), 1, "{mode}");
    }
    // The network policy must permit egress to Alertmanager.
    let port: u64 = config
        .alertmanager
        .url
        .and_then(|url| url.rsplit(':').next()?.parse().ok())
        .unwrap();
    let policy = charted.iter().find(|it| it["kind"] == "NetworkPolicy");
    let mut ports = policy.unwrap()["spec"]["egress"][0]["ports"]
        .as_array()
        .unwrap()
        .iter();
    assert!(ports.any(|allowed| allowed["port"] == port));
}

#[test]
#[ignore = "needs helm: ./tests/run"]
fn prometheus_has_an_account_with_access_to_metrics() {
    let values = [
        "monitoring.enabled=true",
        "auth.kubernetes=true",
        "auth.metrics=true",
    ];
    let objects = objects(&helm(&values));
    let of = |kind: &str, name: &str| {
        let found = objects
            .iter()
            .find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let monitor = of("ServiceMonitor", "locksmith");
    let shown = &monitor["spec"]["endpoints"][0]["authorization"]["credentials"];
    assert_eq!(shown["key"], "token");
    let secret = of("Secret", shown["name"].as_str().unwrap());
    assert_eq!(secret["type"], "kubernetes.io/service-account-token");
    let account = &secret["metadata"]["annotations"]["kubernetes.io/service-account.name"];
    of("ServiceAccount", account.as_str().unwrap());
    let binding = of("ClusterRoleBinding", "locksmith-metrics");
    assert_eq!(&binding["subjects"][0]["name"], account);
    let role = of("ClusterRole", binding["roleRef"]["name"].as_str().unwrap());
    let paths = &role["rules"][0]["nonResourceURLs"];
    assert!(paths.as_array().unwrap().contains(&json!("/metrics")));
}
