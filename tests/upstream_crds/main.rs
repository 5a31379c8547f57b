//! The fields read and written here exist in VolSync's published CRDs, with the same types.

// A helper fails like a test: by panicking.
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
/// VolSync always writes a spec; an object that a person created without one cannot be decoded.
const SPEC_NEEDED: &str = ".spec: needed here, optional there";

#[test]
fn replication_source_is_a_subset_of_upstream() {
    if let Some(upstream) = upstream("replicationsources.yaml") {
        assert_eq!(
            differences(&ReplicationSource::crd(), &upstream),
            [SPEC_NEEDED, FORK_ONLY]
        );
    }
}

#[test]
fn replication_destination_is_a_subset_of_upstream() {
    if let Some(upstream) = upstream("replicationdestinations.yaml") {
        assert_eq!(
            differences(&ReplicationDestination::crd(), &upstream),
            [SPEC_NEEDED]
        );
    }
}

/// VolSync's own definition. The files are too large for this repository, and are next to it.
fn upstream(file: &str) -> Option<CustomResourceDefinition> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/upstream-crds")
        .join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Not by eprintln!, whose output the test runner hides when a test passes.
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
fn unknown_field_is_a_difference() {
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
fn different_type_is_a_difference_at_any_depth() {
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
fn quantity_differs_from_other_types() {
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
fn required_field_that_is_optional_upstream_differs() {
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
