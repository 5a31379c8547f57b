//! The tables of `kubectl get`.

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, claim, same};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

fn columns(table: &Value) -> Value {
    let columns = table["columnDefinitions"].as_array();
    columns
        .into_iter()
        .flatten()
        .map(|c| json!([c["name"], c["type"], c["priority"]]))
        .collect()
}

pub async fn pods_have_their_columns(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let table = g.get_as(&g.core("pods"), TABLE).await?.is(200)?;
    same(
        "kind",
        json!([table["kind"], table["apiVersion"]]),
        json!(["Table", "meta.k8s.io/v1"]),
    )?;
    let expected = json!([
        ["Name", "string", 0],
        ["Ready", "string", 0],
        ["Status", "string", 0],
        ["Restarts", "string", 0],
        ["Age", "string", 0],
        ["IP", "string", 1],
        ["Node", "string", 1],
        ["Nominated Node", "string", 1],
        ["Readiness Gates", "string", 1],
    ]);
    same("columns", columns(&table), expected)?;
    let mut cells = at(&table, "/rows/0/cells");
    cells[4] = json!("");
    same(
        "cells",
        cells,
        json!([
            "a", "0/1", "Pending", "0", "", "<none>", "<none>", "<none>", "<none>"
        ]),
    )?;
    same(
        "object",
        at(&table, "/rows/0/object/kind"),
        "PartialObjectMetadata",
    )?;
    let table = g
        .get_as(&g.core("pods/a?includeObject=Object"), TABLE)
        .await?
        .is(200)?;
    same("object", at(&table, "/rows/0/object/kind"), "Pod")
}

pub async fn claims_have_their_columns(g: Ground) -> Outcome {
    g.post(&g.core("persistentvolumeclaims"), claim("a"))
        .await?
        .is(201)?;
    let table = g
        .get_as(&g.core("persistentvolumeclaims"), TABLE)
        .await?
        .is(200)?;
    let mut cells = at(&table, "/rows/0/cells");
    cells[7] = json!("");
    same(
        "cells",
        cells,
        json!([
            "a",
            "Pending",
            "",
            "",
            "",
            "none",
            "<unset>",
            "",
            "Filesystem"
        ]),
    )
}

pub async fn a_definition_gives_its_columns(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red", "note": "hm"})).await?;
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    g.merge(&format!("{}/a/status", g.widgets()), status)
        .await?
        .is(200)?;
    let table = g.get_as(&g.widgets(), TABLE).await?.is(200)?;
    let expected = json!([
        ["Name", "string", 0],
        ["Color", "string", 0],
        ["Size", "integer", 0],
        ["Ready", "string", 0],
        ["Since", "date", 0],
        ["Note", "string", 1],
    ]);
    same("columns", columns(&table), expected)?;
    let mut cells = at(&table, "/rows/0/cells");
    ensure!(
        cells[4].as_str().is_some_and(|age| age.ends_with('s')),
        "{cells}"
    );
    cells[4] = json!("");
    same("cells", cells, json!(["a", "red", 3, "True", "", "hm"]))
}

pub async fn a_watch_sends_its_columns_once(g: Ground) -> Outcome {
    use axum::body::Body;
    use futures::{AsyncBufReadExt as _, TryStreamExt as _};

    g.widget("a", json!({"color": "red"})).await?;
    g.widget("b", json!({"color": "red"})).await?;
    let request = axum::http::Request::get(format!("{}?watch=true", g.widgets()))
        .header("accept", TABLE)
        .body(kube::client::Body::empty())?;
    let body = Body::new(g.client.send(request).await?.into_body());
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    let mut lines = Box::pin(bytes.into_async_read()).lines();
    for headed in [true, false] {
        let line = lines.next().await.context("the watch ended")??;
        let event: Value = serde_json::from_str(&line)?;
        same(
            "type",
            json!([event["type"], at(&event, "/object/kind")]),
            json!(["ADDED", "Table"]),
        )?;
        let columns = at(&event, "/object/columnDefinitions");
        same(
            "headed",
            columns.as_array().is_some_and(|c| !c.is_empty()),
            headed,
        )?;
    }
    Ok(())
}
