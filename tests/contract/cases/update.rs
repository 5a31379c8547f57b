//! PUT.

use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, cause_fields, claim, config_map, deployment, same, says};

pub const OTHER_UID: &str = "00000000-0000-4000-8000-000000000000";

fn without_version(mut object: Value) -> Value {
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    object
}

pub async fn a_stale_version_conflicts(g: Ground) -> Outcome {
    let mut old = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    g.merge(&path, json!({"data": {"b": "2"}})).await?.is(200)?;
    old["data"] = json!({"c": "3"});
    let status = g.put(&path, old).await?.refused(409, "Conflict")?;
    says(
        &status,
        r#"Operation cannot be fulfilled on configmaps "a": the object has been modified"#,
    )?;
    same(
        "details",
        at(&status, "/details"),
        json!({"kind": "configmaps", "name": "a"}),
    )
}

pub async fn without_a_version_the_last_wins(g: Ground) -> Outcome {
    let old = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    g.merge(&path, json!({"data": {"b": "2"}})).await?.is(200)?;
    let object = g.put(&path, without_version(old)).await?.is(200)?;
    same("data", at(&object, "/data"), json!({"a": "1"}))
}

pub async fn another_uid_conflicts(g: Ground) -> Outcome {
    let mut object = without_version(g.config_map("a").await?);
    object["metadata"]["uid"] = json!(OTHER_UID);
    let status = g
        .put(&g.core("configmaps/a"), object)
        .await?
        .refused(409, "Conflict")?;
    says(&status, "Precondition failed: UID in precondition")
}

pub async fn an_absent_object_is_not_found(g: Ground) -> Outcome {
    let status = g
        .put(&g.core("pods/a"), crate::ground::pod("a"))
        .await?
        .refused(404, "NotFound")?;
    says(&status, r#"pods "a" not found"#)
}

pub async fn a_lease_is_created_by_an_update(g: Ground) -> Outcome {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "a"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
    });
    let path = g.of("coordination.k8s.io/v1", "leases/a");
    let created = g.put(&path, lease).await?.is(201)?;
    let mut renewed = created.clone();
    renewed["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
    g.put(&path, renewed).await?.is(200)?;
    g.put(&path, created.clone())
        .await?
        .refused(409, "Conflict")?;
    g.put(&path, without_version(created))
        .await?
        .refused(422, "Invalid")
        .map(drop)
}

pub async fn the_name_cannot_change(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let status = g
        .put(&g.core("configmaps/a"), config_map("b"))
        .await?
        .refused(400, "BadRequest")?;
    says(
        &status,
        "the name of the object (b) does not match the name on the URL (a)",
    )
}

pub async fn the_creation_time_stays(g: Ground) -> Outcome {
    let object = g.config_map("a").await?;
    let created = at(&object, "/metadata/creationTimestamp");
    let mut changed = object;
    changed["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    changed["data"] = json!({"b": "2"});
    let object = g.put(&g.core("configmaps/a"), changed).await?.is(200)?;
    same(
        "creationTimestamp",
        at(&object, "/metadata/creationTimestamp"),
        created,
    )
}

pub async fn no_change_is_no_write(g: Ground) -> Outcome {
    let object = g.config_map("a").await?;
    let again = g
        .put(&g.core("configmaps/a?fieldManager=other"), object.clone())
        .await?
        .is(200)?;
    same("object", again, object)
}

pub async fn immutable_fields_are_refused(g: Ground) -> Outcome {
    let path = g.of("apps/v1", "deployments");
    g.post(&path, deployment("a")).await?.is(201)?;
    let patch = json!({"spec": {
        "selector": {"matchLabels": {"more": "x"}},
        "template": {"metadata": {"labels": {"more": "x"}}},
    }});
    let status = g
        .merge(&format!("{path}/a"), patch)
        .await?
        .refused(422, "Invalid")?;
    says(&status, "field is immutable")?;
    same(
        "causes",
        json!(cause_fields(&status)),
        json!(["spec.selector"]),
    )
}

pub async fn a_claims_spec_is_fixed(g: Ground) -> Outcome {
    let path = g.core("persistentvolumeclaims");
    g.post(&path, claim("a")).await?.is(201)?;
    let path = format!("{path}/a");
    let patch = json!({"spec": {"storageClassName": "other"}});
    let status = g.merge(&path, patch).await?.refused(422, "Invalid")?;
    says(&status, "spec is immutable after creation except")?;
    // The binding sets the volume's name.
    let object = g
        .merge(&path, json!({"spec": {"volumeName": "pv"}}))
        .await?
        .is(200)?;
    same("volume", at(&object, "/spec/volumeName"), "pv")
}

pub async fn annotations_of_a_deployment_count_as_a_generation(g: Ground) -> Outcome {
    let path = g.of("apps/v1", "deployments");
    let object = g.post(&path, deployment("a")).await?.is(201)?;
    same("at first", at(&object, "/metadata/generation"), 1)?;
    let path = format!("{path}/a");
    for (what, patch, expected) in [
        ("a label", json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            2,
        ),
        ("the spec", json!({"spec": {"paused": true}}), 3),
    ] {
        let object = g.merge(&path, patch).await?.is(200)?;
        same(what, at(&object, "/metadata/generation"), expected)?;
    }
    Ok(())
}
