//! Ownership of lists and maps by server-side apply, and its release.

use serde_json::{Value, json};

use super::Outcome;
use super::apply::{applied, created, owned, path};
use crate::ground::{Ground, at, deployment, same, says, widget};

pub async fn field_that_is_no_longer_applied_is_removed(g: Ground) -> Outcome {
    let spec = json!({"color": "red", "paused": true, "settings": {"x": "1", "y": "2"}});
    created(&g, "one", spec).await?;
    let object = applied(&g, "one", json!({"color": "red", "settings": {"y": "2"}})).await?;
    same("paused", at(&object, "/spec/paused"), json!(null))?;
    same("settings", at(&object, "/spec/settings"), json!({"y": "2"}))?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("settings", at(&object, "/spec/settings"), json!(null))
}

pub async fn field_with_another_owner_stays(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "settings": {"x": "1"}})).await?;
    applied(&g, "two", json!({"settings": {"y": "2"}})).await?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("settings", at(&object, "/spec/settings"), json!({"y": "2"}))
}

pub async fn field_set_before_stays(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red", "paused": true}))
        .await?;
    applied(&g, "one", json!({"note": "mine"})).await?;
    let object = applied(&g, "one", json!({})).await?;
    same("note", at(&object, "/spec/note"), json!(null))?;
    same("paused", at(&object, "/spec/paused"), true)?;
    same("color", at(&object, "/spec/color"), "red")
}

pub async fn items_are_owned_by_key(g: Ground) -> Outcome {
    let parts = json!([{"name": "x", "image": "x:1"}, {"name": "y", "image": "y:1"}]);
    created(&g, "one", json!({"color": "red", "parts": parts})).await?;
    let object = applied(
        &g,
        "two",
        json!({"parts": [{"name": "z"}, {"name": "y", "policy": "Always"}]}),
    )
    .await?;
    let names: Vec<_> = at(&object, "/spec/parts")
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| p["name"].clone())
        .collect();
    same("order", names, json!(["x", "z", "y"]))?;
    let expected = json!({"f:parts": {
        r#"k:{"name":"y"}"#: {".": {}, "f:name": {}, "f:policy": {}},
        r#"k:{"name":"z"}"#: {".": {}, "f:name": {}},
    }});
    same("two", owned(&object, "two", "Apply"), expected)?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    let expected = json!([{"name": "z", "policy": "Always"}, {"name": "y", "policy": "Always"}]);
    same("released", at(&object, "/spec/parts"), expected)
}

pub async fn values_of_a_set_are_owned_one_by_one(g: Ground) -> Outcome {
    created(&g, "one", json!({"color": "red", "tags": ["a", "b"]})).await?;
    let object = applied(&g, "two", json!({"tags": ["b", "c"]})).await?;
    same("tags", at(&object, "/spec/tags"), json!(["a", "b", "c"]))?;
    let expected = json!({"f:tags": {r#"v:"b""#: {}, r#"v:"c""#: {}}});
    same("two", owned(&object, "two", "Apply"), expected)?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("released", at(&object, "/spec/tags"), json!(["b", "c"]))
}

pub async fn atomic_fields_are_owned_whole(g: Ground) -> Outcome {
    let spec = json!({"color": "red", "arguments": ["a"], "selector": {"a": "1"}});
    let object = created(&g, "one", spec).await?;
    same(
        "one",
        owned(&object, "one", "Apply"),
        json!({"f:arguments": {}, "f:color": {}, "f:selector": {}}),
    )?;
    let body = widget(
        "a",
        json!({"arguments": ["a", "b"], "selector": {"b": "2"}}),
    );
    let status = g
        .apply(&path(&g), "two", "", body.clone())
        .await?
        .refused(409, "Conflict")?;
    says(&status, "- .spec.arguments\n- .spec.selector")?;
    let object = g
        .apply(&path(&g), "two", "&force=true", body)
        .await?
        .is(200)?;
    same(
        "arguments",
        at(&object, "/spec/arguments"),
        json!(["a", "b"]),
    )?;
    same("selector", at(&object, "/spec/selector"), json!({"b": "2"}))
}

pub async fn keys_of_a_map_are_owned_one_by_one(g: Ground) -> Outcome {
    let mut body = widget("a", json!({"color": "red"}));
    body["metadata"]["labels"] = json!({"x": "1"});
    body["metadata"]["annotations"] = json!({"n/o": "p"});
    let object = g.apply(&path(&g), "one", "", body).await?.is(201)?;
    let mut body = widget("a", json!({}));
    body["metadata"]["labels"] = json!({"y": "2"});
    g.apply(&path(&g), "two", "", body).await?.is(200)?;
    let fields = at(&object, "/metadata/managedFields/0/fieldsV1/f:metadata");
    same(
        "one",
        fields,
        json!({"f:annotations": {"f:n/o": {}}, "f:labels": {"f:x": {}}}),
    )?;
    let object = applied(&g, "one", json!({"color": "red"})).await?;
    same("labels", at(&object, "/metadata/labels"), json!({"y": "2"}))?;
    same(
        "annotations",
        at(&object, "/metadata/annotations"),
        json!(null),
    )
}

pub async fn a_built_in_list_merges_by_key(g: Ground) -> Outcome {
    let path = g.of("apps/v1", "deployments/a");
    g.apply(&path, "one", "", deployment("a")).await?.is(201)?;
    let body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:1", "ports": [{"containerPort": 80}]}]}}},
    });
    let object = g.apply(&path, "two", "", body).await?.is(200)?;
    let names = |o: &Value| -> Vec<Value> {
        let containers = at(o, "/spec/template/spec/containers");
        containers
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c["name"].clone())
            .collect()
    };
    same("containers", names(&object), json!(["main", "side"]))?;
    let ports = at(
        &owned(&object, "two", "Apply"),
        "/f:template/f:spec/f:containers/k:{\"name\":\"side\"}/f:ports",
    );
    let expected =
        json!({r#"k:{"containerPort":80,"protocol":"TCP"}"#: {".": {}, "f:containerPort": {}}});
    same("ports", ports, expected)?;
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}});
    let object = g.apply(&path, "two", "", body).await?.is(200)?;
    same("released", names(&object), json!(["main"]))
}
