//! The fields read and written here are those that VolSync publishes, with the same types.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod compare;

use std::io::Write;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use compare::differences;
use locksmith::api::volsync::{ReplicationDestination, ReplicationSource};

/// The mover of a fork, which upstream does not have.
const FORK_ONLY: &str = ".spec.kopia: not there";
/// VolSync itself always writes a spec; an object that somebody wrote without one cannot be decoded.
const SPEC_NEEDED: &str = ".spec: needed here, optional there";

#[test]
fn replication_source_is_a_subset_of_upstreams() {
    if let Some(upstream) = upstream("replicationsources.yaml") {
        assert_eq!(
            differences(&ReplicationSource::crd(), &upstream),
            [SPEC_NEEDED, FORK_ONLY]
        );
    }
}

#[test]
fn replication_destination_is_a_subset_of_upstreams() {
    if let Some(upstream) = upstream("replicationdestinations.yaml") {
        assert_eq!(
            differences(&ReplicationDestination::crd(), &upstream),
            [SPEC_NEEDED]
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
        let notice = format!(
            "LEFT OUT: comparison with upstream, no {}\n",
            path.display()
        );
        std::io::stderr().write_all(notice.as_bytes()).unwrap();
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
fn a_quantity_is_read_from_numbers_and_strings_alone() {
    let quantity = json!({"x-kubernetes-int-or-string": true});
    for fits in ["string", "integer"] {
        assert_eq!(
            compared(&quantity, &json!({"type": fits})),
            Vec::<String>::new()
        );
    }
    assert_eq!(
        compared(&quantity, &json!({"type": "boolean"})),
        [": int-or-string here, boolean there"]
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
