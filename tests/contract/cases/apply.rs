//! Server-side apply and field ownership.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use super::update::OTHER_UID;
use crate::ground::{Ground, at, same, says, text, widget};

pub fn path(g: &Ground) -> String {
    format!("{}/a", g.widgets())
}

pub async fn applied(g: &Ground, manager: &str, spec: Value) -> anyhow::Result<Value> {
    g.apply(&path(g), manager, "", widget("a", spec))
        .await?
        .is(200)
}

pub async fn created(g: &Ground, manager: &str, spec: Value) -> anyhow::Result<Value> {
    g.apply(&path(g), manager, "", widget("a", spec))
        .await?
        .is(201)
}

/// The fields a manager owns below `spec`, or null.
pub fn owned(object: &Value, manager: &str, operation: &str) -> Value {
    let entries = at(object, "/metadata/managedFields");
    let entries = entries.as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .find(|e| e["manager"] == manager && e["operation"] == operation)
        .map(|e| at(e, "/fieldsV1/f:spec"))
        .unwrap_or_default()
}

pub async fn an_absent_object_is_created(g: Ground) -> Outcome {
    let object = created(&g, "one", json!({"color": "red"})).await?;
    same("size", at(&object, "/spec/size"), 3)?;
    same("generation", at(&object, "/metadata/generation"), 1)?;
    same(
        "owned",
        owned(&object, "one", "Apply"),
        json!({"f:color": {}}),
    )
}

pub async fn a_uid_keeps_from_creating(g: Ground) -> Outcome {
    let mut body = widget("a", json!({"color": "red"}));
    body["metadata"]["uid"] = json!(OTHER_UID);
    let status = g
        .apply(&path(&g), "one", "", body)
        .await?
        .refused(409, "Conflict")?;
    says(&status, "uid mismatch")?;
    g.get(&path(&g)).await?.refused(404, "NotFound").map(drop)
}

pub async fn fields_are_owned(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "paused": true})).await?;
    let object = applied(&g, "two", json!({"size": 4})).await?;
    same(
        "one",
        owned(&object, "one", "Apply"),
        json!({"f:color": {}, "f:paused": {}}),
    )?;
    same("two", owned(&object, "two", "Apply"), json!({"f:size": {}}))?;
    let entry = &object["metadata"]["managedFields"][0];
    same(
        "apiVersion",
        at(entry, "/apiVersion"),
        "contract.locksmith.dev/v1",
    )?;
    same("fieldsType", at(entry, "/fieldsType"), "FieldsV1")?;
    ensure!(!text(entry, "/time").is_empty());
    Ok(())
}

pub async fn a_plain_write_owns_what_it_changes(g: Ground) -> Outcome {
    g.post(
        &format!("{}?fieldManager=maker", g.widgets()),
        widget("a", json!({"color": "red"})),
    )
    .await?
    .is(201)?;
    let object = g
        .merge(
            &format!("{}?fieldManager=changer", path(&g)),
            json!({"spec": {"size": 4}}),
        )
        .await?
        .is(200)?;
    let maker = owned(&object, "maker", "Update");
    same("maker", maker, json!({".": {}, "f:color": {}}))?;
    same(
        "changer",
        owned(&object, "changer", "Update"),
        json!({"f:size": {}}),
    )
}

pub async fn another_appliers_field_conflicts(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "paused": false})).await?;
    let body = widget("a", json!({"paused": true}));
    let status = g
        .apply(&path(&g), "two", "", body)
        .await?
        .refused(409, "Conflict")?;
    same(
        "message",
        text(&status, "/message"),
        r#"Apply failed with 1 conflict: conflict with "one": .spec.paused"#,
    )?;
    let causes = json!([{
        "reason": "FieldManagerConflict",
        "message": r#"conflict with "one""#,
        "field": ".spec.paused",
    }]);
    same("causes", at(&status, "/details/causes"), causes)?;
    let object = g.get(&path(&g)).await?.is(200)?;
    same("paused", at(&object, "/spec/paused"), false)
}

pub async fn several_conflicts_are_all_named(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "size": 4})).await?;
    let body = widget("a", json!({"color": "green", "size": 5}));
    let status = g
        .apply(&path(&g), "two", "", body)
        .await?
        .refused(409, "Conflict")?;
    let message =
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.color\n- .spec.size";
    same("message", text(&status, "/message"), message)
}

pub async fn force_takes_fields_over(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "paused": false})).await?;
    let body = widget("a", json!({"paused": true}));
    let object = g
        .apply(&path(&g), "two", "&force=true", body)
        .await?
        .is(200)?;
    same("paused", at(&object, "/spec/paused"), true)?;
    same(
        "one",
        owned(&object, "one", "Apply"),
        json!({"f:color": {}}),
    )?;
    same(
        "two",
        owned(&object, "two", "Apply"),
        json!({"f:paused": {}}),
    )?;
    // Fields that were taken over are removed with their new owner.
    let object = g.apply(&path(&g), "two", "", json!({
        "apiVersion": "contract.locksmith.dev/v1", "kind": "Widget", "metadata": {"name": "a"},
    })).await?.is(200)?;
    same("released", at(&object, "/spec/paused"), json!(null))?;
    same("two", owned(&object, "two", "Apply"), json!(null))
}

pub async fn a_shared_value_is_owned_by_both(g: Ground) -> Outcome {
    let before = created(&g, "one", json!({"color": "red", "paused": true})).await?;
    let object = applied(&g, "two", json!({"paused": true})).await?;
    ensure!(
        text(&object, "/metadata/resourceVersion") != text(&before, "/metadata/resourceVersion")
    );
    same(
        "two",
        owned(&object, "two", "Apply"),
        json!({"f:paused": {}}),
    )?;
    same(
        "one",
        owned(&object, "one", "Apply"),
        json!({"f:color": {}, "f:paused": {}}),
    )?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("after one let go", at(&object, "/spec/paused"), true)?;
    let object = applied(&g, "two", json!({})).await?;
    same(
        "after both let go",
        at(&object, "/spec/paused"),
        json!(null),
    )
}

/// A write of the value that an applier owns leaves no trace, so a release drops it.
pub async fn an_equal_plain_write_owns_nothing(g: Ground) -> Outcome {
    let before = created(&g, "one", json!({"color": "red", "paused": true})).await?;
    let patch = json!({"spec": {"paused": true}});
    let object = g
        .merge(&format!("{}?fieldManager=person", path(&g)), patch)
        .await?
        .is(200)?;
    same("object", object, before)?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("paused", at(&object, "/spec/paused"), json!(null))
}

pub async fn a_plain_write_takes_fields_over(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "paused": true})).await?;
    let patch = json!({"spec": {"paused": false}});
    let object = g
        .merge(&format!("{}?fieldManager=person", path(&g)), patch)
        .await?
        .is(200)?;
    same(
        "one",
        owned(&object, "one", "Apply"),
        json!({"f:color": {}}),
    )?;
    same(
        "person",
        owned(&object, "person", "Update"),
        json!({"f:paused": {}}),
    )?;
    let body = widget("a", json!({"color": "red", "paused": true}));
    let status = g
        .apply(&path(&g), "one", "", body)
        .await?
        .refused(409, "Conflict")?;
    says(
        &status,
        r#"conflict with "person" using contract.locksmith.dev/v1"#,
    )
}

pub async fn no_change_is_no_write(g: Ground) -> Outcome {
    let before = created(&g, "one", json!({"color": "red", "parts": [{"name": "p"}]})).await?;
    let object = applied(&g, "one", json!({"color": "red", "parts": [{"name": "p"}]})).await?;
    same("object", object, before)
}

pub async fn a_stale_version_conflicts(g: Ground) -> Outcome {
    let old = created(&g, "one", json!({"color": "red"})).await?;
    applied(&g, "one", json!({"color": "green"})).await?;
    let mut body = widget("a", json!({"color": "blue"}));
    body["metadata"]["resourceVersion"] = at(&old, "/metadata/resourceVersion");
    g.apply(&path(&g), "one", "", body)
        .await?
        .refused(409, "Conflict")
        .map(drop)
}

pub async fn status_is_applied_apart(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red"})).await?;
    let mut body = widget("a", json!({"color": "green"}));
    body["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let status = format!("{}/status", path(&g));
    let object = g.apply(&status, "two", "", body.clone()).await?;
    // Its spec conflicts or is ignored; it is never written.
    if object.code == 200 {
        let object = object.is(200)?;
        same("spec", at(&object, "/spec/color"), "red")?;
    }
    body.as_object_mut().unwrap().remove("spec");
    let object = g.apply(&status, "two", "", body).await?.is(200)?;
    same("status", at(&object, "/status/conditions/0/status"), "True")?;
    let entries = at(&object, "/metadata/managedFields");
    let entry = entries
        .as_array()
        .into_iter()
        .flatten()
        .find(|e| e["manager"] == "two");
    same(
        "subresource",
        entry.map(|e| e["subresource"].clone()).unwrap_or_default(),
        "status",
    )
}

pub async fn managed_fields_are_not_applied(g: Ground) -> Outcome {
    let mut body = widget("a", json!({"color": "red"}));
    body["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let status = g
        .apply(&path(&g), "one", "", body)
        .await?
        .refused(400, "BadRequest")?;
    says(&status, "metadata.managedFields must be nil")
}

pub async fn a_manager_is_required(g: Ground) -> Outcome {
    let answer = g
        .patch(
            crate::ground::APPLY,
            &path(&g),
            widget("a", json!({"color": "red"})),
        )
        .await?;
    let status = answer.refused(422, "Invalid")?;
    says(
        &status,
        "fieldManager: Required value: is required for apply patch",
    )
}

pub async fn an_unknown_field_is_refused(g: Ground) -> Outcome {
    let body = widget("a", json!({"color": "red", "suspend": true}));
    let status = g.apply(&path(&g), "one", "", body).await?;
    ensure!(status.code >= 400, "accepted: {}", status.body);
    says(&status.body, ".spec.suspend: field not declared in schema")
}

pub async fn a_manager_can_be_forgotten(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "paused": true})).await?;
    let patch = json!({"metadata": {"managedFields": [{}]}});
    let object = g.merge(&path(&g), patch).await?.is(200)?;
    same("owned", owned(&object, "one", "Apply"), json!(null))?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("paused", at(&object, "/spec/paused"), true)
}

pub async fn a_dry_run_stores_nothing(g: Ground) -> Outcome {
    g.apply(
        &path(&g),
        "one",
        "&dryRun=All",
        widget("a", json!({"color": "red"})),
    )
    .await?
    .is(201)?;
    g.get(&path(&g)).await?.refused(404, "NotFound").map(drop)
}
