//! The fields read and written here are those that VolSync publishes, with the same types.

mod compare;

use std::io::Write;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use compare::differences;
use locksmith::api::volsync::{ReplicationDestination, ReplicationSource};

/// Fields of a fork that upstream does not have.
const FORK_ONLY: [&str; 1] = [".spec.kopia: not there"];

#[test]
fn replication_source_is_a_subset_of_upstreams() {
    if let Some(upstream) = upstream("replicationsources.yaml") {
        assert_eq!(differences(&ReplicationSource::crd(), &upstream), FORK_ONLY);
    }
}

#[test]
fn replication_destination_is_a_subset_of_upstreams() {
    if let Some(upstream) = upstream("replicationdestinations.yaml") {
        assert_eq!(
            differences(&ReplicationDestination::crd(), &upstream),
            Vec::<String>::new()
        );
    }
}

/// VolSync's own definition. Those files are too large to be copied in here and lie beside the tree.
fn upstream(file: &str) -> Option<CustomResourceDefinition> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/upstream-crds")
        .join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Not by eprintln!, which the test runner keeps to itself when a test passes.
        writeln!(
            std::io::stderr(),
            "LEFT OUT: comparison with upstream, no {}",
            path.display()
        )
        .unwrap();
        return None;
    };
    Some(serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}")))
}

#[test]
fn a_made_up_field_is_a_difference() {
    let theirs = json!({"type": "object", "properties": {"paused": {"type": "boolean"}}});
    let ours = json!({"type": "object", "properties": {
        "paused": {"type": "boolean"},
        "suspend": {"type": "boolean"},
    }});
    assert_eq!(compared(&ours, &theirs), [".suspend: not there"]);
    assert_eq!(compared(&theirs, &theirs), Vec::<String>::new());
    assert_eq!(
        compared(&theirs, &ours),
        Vec::<String>::new(),
        "a subset may leave fields out"
    );
}

#[test]
fn another_type_is_a_difference_at_any_depth() {
    let list = |kind: &str| {
        json!({"type": "object", "properties": {
            "conditions": {"type": "array", "items": {"type": "object", "properties": {
                "reason": {"type": kind},
            }}},
            "labels": {"type": "object", "additionalProperties": {"type": kind}},
        }})
    };
    assert_eq!(
        compared(&list("string"), &list("integer")),
        [
            ".conditions[].reason: string here, integer there",
            ".labels{}: string here, integer there"
        ]
    );
}

#[test]
fn a_field_needed_here_and_optional_there_is_a_difference() {
    let theirs = json!({"type": "object", "properties": {"driver": {"type": "string"}}});
    let mut ours = theirs.clone();
    ours["required"] = json!(["driver"]);
    assert_eq!(
        compared(&ours, &theirs),
        [".driver: needed here, optional there"]
    );
    assert_eq!(compared(&theirs, &ours), Vec::<String>::new());
}

fn compared(ours: &Value, theirs: &Value) -> Vec<String> {
    let crd = |schema: &Value| -> CustomResourceDefinition {
        let names = json!({"kind": "Thing", "plural": "things"});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        serde_json::from_value(json!({
            "metadata": {"name": "things.example.org"},
            "spec": {"group": "example.org", "names": names, "scope": "Namespaced", "versions": [version]},
        }))
        .unwrap()
    };
    differences(&crd(ours), &crd(theirs))
}
