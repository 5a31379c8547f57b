//! PATCH: merge, JSON and strategic merge patches.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use super::update::OTHER_UID;
use crate::ground::{Ground, JSON, STRATEGIC, at, deployment, same, says};

pub async fn null_removes(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let patch = json!({"data": {"a": null, "b": "2", "c": null}});
    let object = g.merge(&g.core("configmaps/a"), patch).await?.is(200)?;
    same("data", at(&object, "/data"), json!({"b": "2"}))
}

pub async fn lists_are_replaced(g: Ground) -> Outcome {
    g.widget(
        "a",
        json!({"color": "red", "parts": [{"name": "x"}], "tags": ["t"]}),
    )
    .await?;
    let patch = json!({"spec": {"parts": [{"name": "y"}], "tags": ["u"]}});
    let object = g
        .merge(&format!("{}/a", g.widgets()), patch)
        .await?
        .is(200)?;
    same(
        "parts",
        at(&object, "/spec/parts"),
        json!([{"name": "y", "policy": "Always"}]),
    )?;
    same("tags", at(&object, "/spec/tags"), json!(["u"]))
}

pub async fn another_uid_is_invalid(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    let patch = json!({"metadata": {"uid": OTHER_UID}, "spec": {"paused": true}});
    let path = format!("{}/a", g.widgets());
    let status = g.merge(&path, patch).await?.refused(422, "Invalid")?;
    says(&status, "metadata.uid: Invalid value")?;
    says(&status, "field is immutable")?;
    let object = g.get(&path).await?.is(200)?;
    same("paused", at(&object, "/spec/paused"), json!(null))
}

pub async fn a_stale_version_conflicts(g: Ground) -> Outcome {
    let old = g.widget("a", json!({"color": "red"})).await?;
    let path = format!("{}/a", g.widgets());
    g.merge(&path, json!({"spec": {"size": 4}}))
        .await?
        .is(200)?;
    let version = at(&old, "/metadata/resourceVersion");
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"size": 5}});
    let status = g.merge(&path, patch).await?.refused(409, "Conflict")?;
    says(&status, "the object has been modified")
}

pub async fn an_absent_object_is_not_found(g: Ground) -> Outcome {
    let status = g
        .merge(&format!("{}/a", g.widgets()), json!({"spec": {}}))
        .await?
        .refused(404, "NotFound")?;
    says(&status, r#"widgets.contract.locksmith.dev "a" not found"#)?;
    let details = json!({"group": "contract.locksmith.dev", "kind": "widgets", "name": "a"});
    same("details", at(&status, "/details"), details)
}

pub async fn no_change_is_no_write(g: Ground) -> Outcome {
    let object = g.widget("a", json!({"color": "red"})).await?;
    let patch = json!({"spec": {"color": "red", "size": 3}});
    let again = g
        .merge(&format!("{}/a?fieldManager=other", g.widgets()), patch)
        .await?
        .is(200)?;
    same("object", again, object)
}

pub async fn an_unknown_field_changes_nothing_when_strict(g: Ground) -> Outcome {
    let object = g.widget("a", json!({"color": "red"})).await?;
    let path = format!("{}/a", g.widgets());
    let patch = json!({"spec": {"suspend": true, "paused": true}});
    let status = g
        .merge(&format!("{path}?fieldValidation=Strict"), patch)
        .await?
        .refused(422, "Invalid")?;
    says(&status, r#"unknown field "spec.suspend""#)?;
    same("object", g.get(&path).await?.is(200)?, object)
}

pub async fn an_unknown_field_is_dropped_with_a_warning(g: Ground) -> Outcome {
    let object = g.widget("a", json!({"color": "red"})).await?;
    let answer = g
        .merge(
            &format!("{}/a", g.widgets()),
            json!({"spec": {"suspend": true}}),
        )
        .await?;
    ensure!(
        answer
            .warnings
            .iter()
            .any(|w| w.contains(r#"unknown field \"spec.suspend\""#)),
        "{:?}",
        answer.warnings
    );
    same("object", answer.is(200)?, object)
}

pub async fn a_dry_run_stores_nothing(g: Ground) -> Outcome {
    let before = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    let object = g
        .merge(&format!("{path}?dryRun=All"), json!({"data": {"a": "2"}}))
        .await?
        .is(200)?;
    same("answer", at(&object, "/data/a"), "2")?;
    same("object", g.get(&path).await?.is(200)?, before)
}

pub async fn operations_apply_in_order(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let operations = json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "replace", "path": "/data/a", "value": "2"},
        {"op": "copy", "from": "/data/a", "path": "/data/b"},
        {"op": "move", "from": "/data/a", "path": "/data/c"},
        {"op": "add", "path": "/metadata/labels", "value": {"x~y": "1"}},
        {"op": "remove", "path": "/metadata/labels/x~0y"},
        {"op": "add", "path": "/metadata/finalizers", "value": []},
    ]);
    let object = g
        .patch(JSON, &g.core("configmaps/a"), operations)
        .await?
        .is(200)?;
    same("data", at(&object, "/data"), json!({"b": "2", "c": "2"}))
}

pub async fn a_failed_test_changes_nothing(g: Ground) -> Outcome {
    let before = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    let operations = json!([
        {"op": "add", "path": "/data/b", "value": "2"},
        {"op": "test", "path": "/data/a", "value": "other"},
    ]);
    g.patch(JSON, &path, operations)
        .await?
        .refused(422, "Invalid")?;
    let operations = json!([{"op": "remove", "path": "/data/absent"}]);
    g.patch(JSON, &path, operations)
        .await?
        .refused(422, "Invalid")?;
    same("object", g.get(&path).await?.is(200)?, before)
}

fn two_containers() -> Value {
    let mut body = deployment("a");
    body["spec"]["template"]["spec"]["containers"] = json!([
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "b:1"},
    ]);
    body
}

/// Name, image and env of the deployment's containers after a patch.
async fn patched(g: &Ground, template: Value) -> anyhow::Result<Value> {
    let path = g.of("apps/v1", "deployments");
    g.post(&path, two_containers()).await?.is(201)?;
    let patch = json!({"spec": {"template": template}});
    let object = g
        .patch(STRATEGIC, &format!("{path}/a"), patch)
        .await?
        .is(200)?;
    let containers = at(&object, "/spec/template/spec/containers");
    let short = |c: &Value| json!([c["name"], c["image"], c["env"]]);
    Ok(containers
        .as_array()
        .into_iter()
        .flatten()
        .map(short)
        .collect())
}

pub async fn containers_merge_by_name(g: Ground) -> Outcome {
    let template = json!({"spec": {"containers": [
        {"name": "b", "image": "b:2"},
        {"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]},
    ]}});
    let env = json!([{"name": "Y", "value": "2"}, {"name": "X", "value": "3"}]);
    let expected = json!([["b", "b:2", null], ["a", "a:1", env]]);
    same("containers", patched(&g, template).await?, expected)
}

pub async fn a_directive_deletes_an_item(g: Ground) -> Outcome {
    let template = json!({"spec": {"containers": [
        {"name": "a", "$patch": "delete"},
        {"name": "c", "image": "c:1"},
    ]}});
    let expected = json!([["b", "b:1", null], ["c", "c:1", null]]);
    let found = patched(&g, template).await?;
    let mut found = found.as_array().cloned().unwrap_or_default();
    found.sort_by_key(ToString::to_string);
    same("containers", found, expected)
}

pub async fn items_follow_the_given_order(g: Ground) -> Outcome {
    let template = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
        "containers": [{"name": "c", "image": "c:1"}],
    }});
    let found = patched(&g, template).await?;
    let names: Vec<_> = found
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| c[0].clone())
        .collect();
    same("order", names, json!(["c", "b", "a"]))
}

pub async fn a_custom_resource_has_no_strategy(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    let patch = json!({"spec": {"size": 4}});
    let path = format!("{}/a", g.widgets());
    g.patch(STRATEGIC, &path, patch)
        .await?
        .refused(415, "UnsupportedMediaType")
        .map(drop)
}
