//! Receivers of each alert in the samples, according to Alertmanager's own tool.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use locksmith::config::Config;
use regex::Regex;
use serde_json::{Value, json};

use crate::alerts;
use crate::shipped::{each, field, path, read, text};

/// Labels by name.
type Labels = BTreeMap<String, String>;

/// The labels of every alert that routes may match.
fn alerts_of(cluster: &str) -> Vec<Labels> {
    let labels = |alert: Value| {
        let severity = field(&alert["labels"], "severity");
        let name = field(&alert, "alert");
        [
            ("alertname", name),
            ("severity", severity),
            ("cluster", cluster),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    };
    alerts().into_iter().map(labels).collect()
}

/// Whether the alert starts a playbook in the default configuration.
fn asks_for_something(labels: &Labels) -> bool {
    let playbooks = Config::default().playbooks.0;
    playbooks.values().any(|one| one.is_asked_for_by(labels))
}

/// The receivers to which `config` sends an alert.
fn receivers_of(config: &Path, labels: &Labels) -> BTreeSet<String> {
    let mut amtool = Command::new("amtool");
    amtool.args(["config", "routes", "test", "--config.file"]);
    amtool.arg(config);
    amtool.args(labels.iter().map(|(name, value)| format!("{name}={value}")));
    let asked = amtool.output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let receivers = String::from_utf8(asked.stdout).unwrap();
    receivers.trim().split(',').map(str::to_owned).collect()
}

#[test]
#[ignore = "needs amtool: ./tests/run"]
fn every_alert_reaches_a_person_or_locksmith() {
    let sample = path("alerts/alertmanager.yaml");
    for cluster in ["home", "office"] {
        for labels in alerts_of(cluster) {
            let mut expected = BTreeSet::from([match &*labels["severity"] {
                "info" => "nobody".to_owned(),
                _ => "pager".to_owned(),
            }]);
            if cluster == "home" && asks_for_something(&labels) {
                expected.insert("locksmith-home".to_owned());
            }
            assert_eq!(receivers_of(&sample, &labels), expected, "{labels:?}");
        }
    }
}

/// The Prometheus Operator's output for the AlertmanagerConfig, without added matchers, in an Alertmanager whose root route
/// notifies people, with the additional route from the comment.
fn beside_a_pager(example: &str) -> Value {
    let config = &read(example)["spec"];
    let matchers: Vec<_> = each(&config["route"], "matchers")
        .map(|one| {
            let [name, operator, value] =
                ["name", "matchType", "value"].map(|part| field(one, part));
            format!("{name}{operator}\"{value}\"")
        })
        .collect();
    let (routes, page) = (r"(?m)^#\s+routes: (\[.*\])$", text(example));
    let beside = Regex::new(routes).unwrap().captures(&page);
    let beside: Vec<Value> = serde_saphyr::from_str(&beside.unwrap()[1]).unwrap();
    let mut routes = vec![json!({
        "receiver": config["route"]["receiver"],
        "group_by": config["route"]["groupBy"],
        "matchers": matchers,
        "continue": config["route"]["continue"],
    })];
    routes.extend(beside);
    json!({
        "route": {"receiver": "pager", "routes": routes},
        "receivers": [{"name": "locksmith"}, {"name": "pager"}],
    })
}

/// The alert of `locksmith test-alert` takes the route of the others, and notifies nobody.
#[test]
#[ignore = "needs amtool: ./tests/run"]
fn test_alert_reaches_locksmith_alone() {
    let labels = [
        ("alertname", "LocksmithTest"),
        ("severity", "info"),
        ("cluster", "home"),
    ];
    let labels: Labels = labels
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let of = |receivers: &[&str]| -> BTreeSet<String> {
        receivers.iter().map(|name| (*name).to_owned()).collect()
    };
    let sample = path("alerts/alertmanager.yaml");
    assert_eq!(
        receivers_of(&sample, &labels),
        of(&["locksmith-home", "nobody"])
    );
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("alertmanager.yaml");
    let made = beside_a_pager("deploy/examples/alertmanagerconfig.yaml");
    std::fs::write(&config, made.to_string()).unwrap();
    assert_eq!(receivers_of(&config, &labels), of(&["locksmith"]));
}

#[test]
#[ignore = "needs amtool: ./tests/run"]
fn alertmanagerconfig_routes_only_playbook_alerts() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("alertmanager.yaml");
    let made = beside_a_pager("deploy/examples/alertmanagerconfig.yaml");
    std::fs::write(&config, made.to_string()).unwrap();
    for labels in alerts_of("home") {
        let mut expected = BTreeSet::from(["pager".to_owned()]);
        if asks_for_something(&labels) {
            expected.insert("locksmith".to_owned());
        }
        assert_eq!(receivers_of(&config, &labels), expected, "{labels:?}");
    }
    assert_eq!(made["route"]["routes"][0]["group_by"][1], "cluster");
}
