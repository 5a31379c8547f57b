//! Normalises objects, Events and log lines into text that is equal for two runs of a script.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use kube::api::DynamicObject;
use kube::{Client, ResourceExt};
use regex::Regex;
use serde_json::Value;

use crate::objects::all;

/// Kinds whose objects and Events are observed.
const KINDS: [(&str, &str); 4] = [
    ("v1", "PersistentVolumeClaim"),
    ("snapshot.storage.k8s.io/v1", "VolumeSnapshot"),
    ("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent"),
    ("volsync.backube/v1alpha1", "ReplicationSource"),
];

/// Status fields that the simulated world does not have, since the program reads none of them.
const UNKNOWN: [&str; 4] = [
    "creationTime",
    "lastSyncDuration",
    "latestMoverStatus",
    "restic",
];

/// Suffix of the name of a mover's cache; the simulated movers have none.
const CACHE: &str = "-cache";

/// Values that differ between runs, each with its placeholder.
static VARIABLE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let uid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
    [
        (format!("0001-0009-rook-ceph-[0-9]{{16}}-{uid}"), "<handle>"),
        (uid.to_owned(), "<uid>"),
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z".to_owned(), "<time>"),
        (
            "csi-rbdplugin-provisioner-[a-z0-9]+-[a-z0-9]+".to_owned(),
            "<pod>",
        ),
        ("^E[0-9]{4} [0-9:.]+ +[0-9]+ ".to_owned(), "E<time> "),
        ("[.]go:[0-9]+".to_owned(), ".go:<line>"),
        (" ID: [0-9]+ ".to_owned(), " ID: <n> "),
        // A gRPC client words a timeout in one of two ways, depending on which of its goroutines notices it first.
        (
            "stream terminated by RST_STREAM with error code: CANCEL".to_owned(),
            "context deadline exceeded",
        ),
    ]
    .map(|(pattern, stands)| (Regex::new(&pattern).unwrap(), stands))
    .into()
});

/// The text with all such values replaced.
pub fn normalised(text: &str) -> String {
    let replace = |text: String, (pattern, stands): &(Regex, &str)| {
        pattern.replace_all(&text, *stands).into_owned()
    };
    VARIABLE.iter().fold(text.to_owned(), replace)
}

/// Every observed object in the namespace, and the contents of its snapshots.
pub async fn objects(client: &Client, namespace: &str) -> String {
    let mut text = String::new();
    for (api_version, kind) in KINDS {
        let api = all(client, api_version, kind);
        let mut found = api.list(&Default::default()).await.unwrap().items;
        found.retain(|one| belongs(one, namespace) && !one.name_any().ends_with(CACHE));
        found.sort_by_key(name);
        for object in found {
            writeln!(text, "{kind} {}", name(&object)).unwrap();
            text += &state(&object);
        }
    }
    text
}

fn belongs(object: &DynamicObject, namespace: &str) -> bool {
    let of = object.namespace();
    let bound = object.data["spec"]["volumeSnapshotRef"]["namespace"].as_str();
    of.as_deref().or(bound) == Some(namespace)
}

/// Name of the object; for a content, that of its snapshot.
fn name(object: &DynamicObject) -> String {
    let snapshot = object.data["spec"]["volumeSnapshotRef"]["name"].as_str();
    snapshot.map_or_else(|| object.name_any(), |name| format!("of {name}"))
}

/// Metadata and status, one line each.
pub fn state(object: &DynamicObject) -> String {
    let mut lines = String::new();
    let mut line = |what: &str, value: String| {
        if !value.is_empty() {
            let text = normalised(&format!("{what}: {value}"));
            writeln!(lines, "  {text}").unwrap();
        }
    };
    let joined = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(", ");
    let pairs = |all: &BTreeMap<String, String>| {
        joined(
            all.iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        )
    };
    if object.metadata.deletion_timestamp.is_some() {
        line("is", "being deleted".to_owned());
    }
    line(
        "finalizers",
        joined(object.finalizers().iter().cloned().collect()),
    );
    line("labels", pairs(object.labels()));
    line("annotations", pairs(object.annotations()));
    let owners = object.owner_references().iter();
    let owners = owners.map(|owner| {
        let controls = owner.controller == Some(true);
        format!("{} {}, controller {controls}", owner.kind, owner.name)
    });
    line("owners", joined(owners.collect()));
    let status = object.data["status"].as_object();
    for (field, value) in status.into_iter().flatten() {
        if UNKNOWN.contains(&&**field) {
            continue;
        }
        line(&format!("status.{field}"), shown(field, value));
    }
    lines
}

/// The value of a status field; for a time, only that it is set.
fn shown(field: &str, value: &Value) -> String {
    const PRESENT: [&str; 3] = ["lastSyncTime", "lastSyncStartTime", "nextSyncTime"];
    if PRESENT.contains(&field) {
        return "present".to_owned();
    }
    if field == "conditions" {
        let conditions = value.as_array().into_iter().flatten();
        let text = conditions.map(|one| {
            let field = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{}={} {} ({})",
                field("type"),
                field("status"),
                field("reason"),
                field("message")
            )
        });
        return text.collect::<Vec<_>>().join("; ");
    }
    value.to_string()
}

/// The Events of each component about each observed object, each text once, in order. Events outlive their objects.
pub async fn events(client: &Client, namespace: &str) -> String {
    let api = all(client, "v1", "Event");
    let mut events = api.list(&Default::default()).await.unwrap().items;
    // Increasing the count changes the resource version, but not the name, which contains the first time.
    events.sort_by_key(|event| {
        let name = event.name_any();
        name.rsplit_once('.').map(|(_, time)| time.to_owned())
    });
    let field = |event: &DynamicObject, path: &str| {
        let value = event.data.pointer(path).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let about = |event: &DynamicObject| field(event, "/involvedObject/kind");
    let snapshots: BTreeMap<String, String> = events
        .iter()
        .filter(|event| about(event) == "VolumeSnapshot")
        .map(|event| {
            let uid = field(event, "/involvedObject/uid");
            (
                format!("snapcontent-{uid}"),
                field(event, "/involvedObject/name"),
            )
        })
        .collect();
    let mut texts: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for event in &events {
        let (kind, name) = (about(event), field(event, "/involvedObject/name"));
        let name = match snapshots.get(&name) {
            Some(snapshot) => format!("of {snapshot}"),
            None if field(event, "/involvedObject/namespace") == namespace => name,
            None => continue,
        };
        let message = field(event, "/message");
        if !KINDS.iter().any(|(_, one)| *one == kind)
            || [&name, &message].iter().any(|text| text.contains(CACHE))
        {
            continue;
        }
        let component = Some(field(event, "/reportingComponent")).filter(|name| !name.is_empty());
        let component = component.unwrap_or_else(|| field(event, "/source/component"));
        let text = normalised(&format!(
            "{} {}: {message}",
            field(event, "/type"),
            field(event, "/reason"),
        ));
        let texts = texts.entry((format!("{kind} {name}"), component_kind(&component)));
        let texts = texts.or_default();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let mut lines = String::new();
    for ((object, component), texts) in texts {
        writeln!(lines, "{object}, by {component}").unwrap();
        for text in texts {
            writeln!(lines, "  {text}").unwrap();
        }
    }
    lines
}

/// Name of a component, without the identity of its process.
fn component_kind(component: &str) -> String {
    let kind = component
        .split_once('_')
        .map_or(component, |(kind, _)| kind);
    normalised(kind)
}

/// The lines with a refused operation, each once.
pub fn refusals(logs: &[String]) -> String {
    let lines = logs.iter().flat_map(|log| log.lines());
    let refusals = lines.filter(|line| line.contains("already exists"));
    let refusals: BTreeSet<_> = refusals.map(normalised).collect();
    refusals.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn names_and_times_are_normalised() {
    let line = "E1129 06:00:00.123456       1 controllerserver.go:1161] ID: 19 Req-ID: snapshot-0bd32c1f-30d4-4dd8-8d5b-ea7d1c1e9a4b an \
                operation with the given Snapshot ID 0001-0009-rook-ceph-0000000000000002-0bd32c1f-30d4-4dd8-8d5b-ea7d1c1e9a4b already exists";
    assert_eq!(
        normalised(line),
        "E<time> controllerserver.go:<line>] ID: <n> Req-ID: snapshot-<uid> an operation with the given Snapshot ID <handle> already exists"
    );
}
