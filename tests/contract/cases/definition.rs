//! CustomResourceDefinitions that are created and deleted while the server runs.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, same, says};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition(group: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
                }}},
            }],
        },
    })
}

fn condition(object: &Value, kind: &str) -> bool {
    let conditions = at(object, "/status/conditions");
    let conditions = conditions.as_array().cloned().unwrap_or_default();
    conditions
        .iter()
        .any(|c| c["type"] == kind && c["status"] == "True")
}

/// Creates definitions in a group of the case's own, and waits until they are served.
async fn define(g: &Ground) -> anyhow::Result<(String, String)> {
    let group = format!("{}.example", g.namespace);
    let name = format!("things.{group}");
    g.post(DEFINITIONS, definition(&group, &name))
        .await?
        .is(201)?;
    let path = format!("{DEFINITIONS}/{name}");
    g.until(&path, "established", |a| condition(&a.body, "Established"))
        .await?;
    let things = g.of(&format!("{group}/v1"), "things");
    g.until(&things, "served", |a| a.code == 200).await?;
    Ok((path, things))
}

pub async fn a_definition_is_served_once_established(g: Ground) -> Outcome {
    let (path, things) = define(&g).await?;
    let object = g.get(&path).await?.is(200)?;
    ensure!(condition(&object, "NamesAccepted"));
    let names =
        json!({"kind": "Thing", "listKind": "ThingList", "plural": "things", "singular": "thing"});
    same(
        "accepted names",
        at(&object, "/status/acceptedNames"),
        names,
    )?;
    same(
        "stored versions",
        at(&object, "/status/storedVersions"),
        json!(["v1"]),
    )?;
    let list = g.get(&things).await?.is(200)?;
    same("list", at(&list, "/kind"), "ThingList")?;
    g.delete(&path, json!(null)).await?.is(200).map(drop)
}

pub async fn a_definition_takes_its_objects_with_it(g: Ground) -> Outcome {
    let (path, things) = define(&g).await?;
    let group = format!("{}.example/v1", g.namespace);
    let thing = json!({"apiVersion": group, "kind": "Thing", "metadata": {"name": "a"}, "spec": {"a": "b"}});
    g.post(&things, thing).await?.is(201)?;
    g.delete(&path, json!(null)).await?.is(200)?;
    g.until_gone(&path).await?;
    g.until_gone(&things).await
}

pub async fn a_definition_is_named_after_its_resource(g: Ground) -> Outcome {
    let group = format!("{}.example", g.namespace);
    let status = g
        .post(DEFINITIONS, definition(&group, "other"))
        .await?
        .refused(422, "Invalid")?;
    says(&status, r#"must be spec.names.plural+"."+spec.group"#)
}
