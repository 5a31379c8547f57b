//! The sample receivers for people, in both forms:
//!
//! 1. each message shows summary, description and runbook of an alert of ours, as Alertmanager renders it;
//! 2. the AlertmanagerConfig has the messages of the raw sample;
//! 3. its Secret has each key that a receiver reads.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::alerts;
use crate::shipped::{each, field, read, text};

/// Receiver, its list in the raw sample and in the AlertmanagerConfig, and the fields that both have.
type Pair = (
    &'static str,
    [&'static str; 2],
    &'static [[&'static str; 2]],
);

const PAIRS: [Pair; 2] = [
    (
        "discord",
        ["discord_configs", "discordConfigs"],
        &[["title", "title"], ["message", "message"]],
    ),
    (
        "slack",
        ["slack_configs", "slackConfigs"],
        &[
            ["title", "title"],
            ["title_link", "titleLink"],
            ["text", "text"],
            ["channel", "channel"],
            ["send_resolved", "sendResolved"],
        ],
    ),
];

/// The first configuration of a receiver.
fn of_receiver<'v>(receivers: &'v Value, name: &str, list: &str) -> &'v Value {
    let mut receivers = each(receivers, "receivers");
    let receiver = receivers.find(|it| it["name"] == name);
    let receiver = receiver.unwrap_or_else(|| panic!("no receiver {name}"));
    assert!(receiver[list][0].is_object(), "{name}: no {list}");
    &receiver[list][0]
}

/// The AlertmanagerConfig and its Secret.
fn operators() -> [Value; 2] {
    let file = text("deploy/examples/alertmanagerconfig-receivers.yaml");
    let documents = file.split("\n---\n");
    let documents: Vec<Value> = documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect();
    documents.try_into().expect("two objects")
}

#[test]
fn both_forms_of_the_receivers_have_the_same_messages() {
    let raw = read("alerts/receivers.yaml");
    let [config, _] = operators();
    for (name, [list, operators_list], fields) in PAIRS {
        let raw = of_receiver(&raw, name, list);
        let operators = of_receiver(&config["spec"], name, operators_list);
        for [field, operators_field] in fields {
            assert!(!raw[field].is_null(), "{name}: no {field}");
            assert_eq!(raw[field], operators[operators_field], "{name}: {field}");
        }
    }
}

#[test]
fn secret_of_the_receivers_has_every_key_they_read() {
    let [config, secret] = operators();
    let name = field(&secret["metadata"], "name");
    let read: BTreeSet<&str> = [
        ("ntfy", "webhookConfigs", "urlSecret"),
        ("discord", "discordConfigs", "apiURL"),
        ("slack", "slackConfigs", "apiURL"),
    ]
    .into_iter()
    .map(|(receiver, list, url)| {
        let url = &of_receiver(&config["spec"], receiver, list)[url];
        assert_eq!(url["name"], name, "{receiver}");
        field(url, "key")
    })
    .collect();
    let kept = secret["stringData"].as_object().unwrap();
    assert_eq!(read, kept.keys().map(String::as_str).collect());
}

/// A template as Alertmanager renders it for these alerts.
fn rendered(template: &str, data: &Value) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.json");
    std::fs::write(&file, data.to_string()).unwrap();
    // The tool wants a file of templates, too.
    let glob = directory.path().join("none.tmpl");
    std::fs::write(&glob, "").unwrap();
    let amtool = Command::new("amtool")
        .args(["template", "render", "--template.glob"])
        .arg(&glob)
        .arg("--template.data")
        .arg(&file)
        .arg(format!("--template.text={template}"))
        .output()
        .unwrap();
    assert!(amtool.status.success(), "{amtool:?}");
    String::from_utf8(amtool.stdout).unwrap()
}

#[test]
#[ignore = "needs amtool: ./tests/run"]
fn messages_show_summary_description_and_runbook() {
    let raw = read("alerts/receivers.yaml");
    let alerts = alerts();
    let [one, other] = &alerts[..2] else {
        panic!("two alerts")
    };
    let firing = |alert: &Value| {
        let labels = json!({"alertname": alert["alert"], "driver": "rbd.csi.ceph.com"});
        json!({"status": "firing", "labels": labels, "annotations": alert["annotations"],
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z"})
    };
    let data = json!({
        "status": "firing",
        "alerts": [firing(one), firing(other)],
        "commonLabels": {"alertname": one["alert"], "driver": "rbd.csi.ceph.com"},
    });
    for (name, [list, _], _) in PAIRS {
        let receiver = of_receiver(&raw, name, list);
        let title = rendered(field(receiver, "title"), &data);
        let expected = format!("FIRING: {} (rbd.csi.ceph.com)", field(one, "alert"));
        assert_eq!(title.trim(), expected, "{name}");
        let body = if name == "slack" { "text" } else { "message" };
        let body = rendered(field(receiver, body), &data);
        for alert in [one, other] {
            for note in ["summary", "description", "runbook_url"] {
                let note = field(&alert["annotations"], note).trim();
                assert!(body.contains(note), "{name} lacks {note:?}: {body}");
            }
        }
    }
}
