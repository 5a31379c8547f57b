//! GET with `watch`.

use anyhow::{Context as _, Result, ensure};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, same, text, widget};

/// The next event that is not a bookmark, as type, name and resourceVersion.
async fn next(events: &mut (impl Stream<Item = Result<Value>> + Unpin)) -> Result<Value> {
    loop {
        let event = events.next().await.context("the watch ended")??;
        if event["type"] != "BOOKMARK" {
            return Ok(event);
        }
    }
}

fn short(event: &Value) -> Value {
    json!([event["type"], at(event, "/object/metadata/name")])
}

async fn version(g: &Ground) -> Result<String> {
    let list = g.get(&format!("{}?limit=1", g.widgets())).await?.is(200)?;
    Ok(text(&list, "/metadata/resourceVersion").to_owned())
}

pub async fn events_follow_a_revision(g: Ground) -> Outcome {
    g.widget("before", json!({"color": "red"})).await?;
    let from = version(&g).await?;
    g.widget("a", json!({"color": "red"})).await?;
    let path = format!("{}/a", g.widgets());
    g.merge(&path, json!({"spec": {"size": 4}}))
        .await?
        .is(200)?;
    let mut events = g
        .watch(&format!(
            "{}?watch=true&resourceVersion={from}",
            g.widgets()
        ))
        .await?;
    same(
        "first",
        short(&next(&mut events).await?),
        json!(["ADDED", "a"]),
    )?;
    same(
        "second",
        short(&next(&mut events).await?),
        json!(["MODIFIED", "a"]),
    )?;
    g.delete(&path, Value::Null).await?.is(200)?;
    same(
        "third",
        short(&next(&mut events).await?),
        json!(["DELETED", "a"]),
    )?;
    g.widget("b", json!({"color": "red"})).await?;
    same(
        "fourth",
        short(&next(&mut events).await?),
        json!(["ADDED", "b"]),
    )
}

pub async fn existing_objects_come_first(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut events = g.watch(&format!("{}?{query}", g.widgets())).await?;
        same(
            query,
            short(&next(&mut events).await?),
            json!(["ADDED", "a"]),
        )?;
    }
    Ok(())
}

pub async fn a_streamed_list_ends_with_a_bookmark(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    g.widget("b", json!({"color": "red"})).await?;
    let path = format!(
        "{}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        g.widgets()
    );
    let mut events = g.watch(&path).await?;
    same(
        "first",
        short(&next(&mut events).await?),
        json!(["ADDED", "a"]),
    )?;
    same(
        "second",
        short(&next(&mut events).await?),
        json!(["ADDED", "b"]),
    )?;
    let mark = events.next().await.context("the watch ended")??;
    same("type", at(&mark, "/type"), "BOOKMARK")?;
    same(
        "kind",
        json!([at(&mark, "/object/kind"), at(&mark, "/object/apiVersion")]),
        json!(["Widget", "contract.locksmith.dev/v1"]),
    )?;
    let end = at(&mark, "/object/metadata/annotations");
    same(
        "annotation",
        end,
        json!({"k8s.io/initial-events-end": "true"}),
    )?;
    ensure!(!text(&mark, "/object/metadata/resourceVersion").is_empty());
    g.widget("c", json!({"color": "red"})).await?;
    same(
        "third",
        short(&next(&mut events).await?),
        json!(["ADDED", "c"]),
    )
}

pub async fn a_streamed_list_names_its_match(g: Ground) -> Outcome {
    let path = format!("{}?watch=true&sendInitialEvents=true", g.widgets());
    let status = g.get(&path).await?.refused(422, "Invalid")?;
    crate::ground::says(
        &status,
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    )
}

pub async fn objects_enter_and_leave_a_selection(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    let from = version(&g).await?;
    let path = format!(
        "{}?watch=true&resourceVersion={from}&labelSelector=in",
        g.widgets()
    );
    let mut events = g.watch(&path).await?;
    let object = format!("{}/a", g.widgets());
    g.merge(&object, json!({"metadata": {"labels": {"in": "1"}}}))
        .await?
        .is(200)?;
    same(
        "enters",
        short(&next(&mut events).await?),
        json!(["ADDED", "a"]),
    )?;
    g.merge(&object, json!({"spec": {"size": 4}}))
        .await?
        .is(200)?;
    same(
        "stays",
        short(&next(&mut events).await?),
        json!(["MODIFIED", "a"]),
    )?;
    let after = g
        .merge(&object, json!({"metadata": {"labels": null}}))
        .await?
        .is(200)?;
    let event = next(&mut events).await?;
    same("leaves", short(&event), json!(["DELETED", "a"]))?;
    // The last state in the selection, at the revision it left.
    same(
        "labels",
        at(&event, "/object/metadata/labels"),
        json!({"in": "1"}),
    )?;
    let (seen, left) = (
        at(&event, "/object/metadata/resourceVersion"),
        at(&after, "/metadata/resourceVersion"),
    );
    same("revision", seen, left)?;
    g.merge(&object, json!({"spec": {"size": 5}}))
        .await?
        .is(200)?;
    g.merge(&object, json!({"metadata": {"labels": {"in": "2"}}}))
        .await?
        .is(200)?;
    let event = next(&mut events).await?;
    same("enters again", short(&event), json!(["ADDED", "a"]))?;
    same("size", at(&event, "/object/spec/size"), 5)
}

pub async fn a_deletion_carries_the_last_state(g: Ground) -> Outcome {
    let object = g.widget("a", json!({"color": "red"})).await?;
    let from = text(&object, "/metadata/resourceVersion");
    let mut events = g
        .watch(&format!(
            "{}?watch=true&resourceVersion={from}",
            g.widgets()
        ))
        .await?;
    g.delete(&format!("{}/a", g.widgets()), Value::Null)
        .await?
        .is(200)?;
    let event = next(&mut events).await?;
    same("color", at(&event, "/object/spec/color"), "red")?;
    let version = text(&event, "/object/metadata/resourceVersion");
    ensure!(
        version.parse::<u64>()? > from.parse::<u64>()?,
        "{version} is not after {from}"
    );
    Ok(())
}

pub async fn one_object_is_watched_by_name(g: Ground) -> Outcome {
    let from = version(&g).await?;
    let path = format!(
        "{}?watch=true&resourceVersion={from}&fieldSelector=metadata.name%3Db",
        g.widgets()
    );
    let mut events = g.watch(&path).await?;
    g.widget("a", json!({"color": "red"})).await?;
    g.widget("b", json!({"color": "red"})).await?;
    same(
        "first",
        short(&next(&mut events).await?),
        json!(["ADDED", "b"]),
    )
}

pub async fn a_watch_ends_in_time(g: Ground) -> Outcome {
    let from = version(&g).await?;
    let path = format!(
        "{}?watch=true&resourceVersion={from}&timeoutSeconds=1",
        g.widgets()
    );
    let events: Vec<_> = g.watch(&path).await?.try_collect().await?;
    same("events", events, json!([]))
}

pub async fn a_quiet_watch_hears_of_the_revision(g: Ground) -> Outcome {
    let from = version(&g).await?;
    let path = format!(
        "{}?watch=true&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=4",
        g.widgets()
    );
    let watching = g.watch(&path).await?;
    g.config_map("elsewhere").await?;
    let events: Vec<_> = watching.try_collect().await?;
    let mark = events.last().context("no bookmark before the end")?;
    same("type", at(mark, "/type"), "BOOKMARK")?;
    let version = text(mark, "/object/metadata/resourceVersion");
    ensure!(
        version.parse::<u64>()? >= from.parse::<u64>()?,
        "{version} is before {from}"
    );
    Ok(())
}

pub async fn a_revision_of_the_past_is_gone(g: Ground) -> Outcome {
    g.post(&g.widgets(), widget("a", json!({"color": "red"})))
        .await?
        .is(201)?;
    let mut events = g
        .watch(&format!("{}?watch=true&resourceVersion=1", g.widgets()))
        .await?;
    let event = next(&mut events).await?;
    same("type", at(&event, "/type"), "ERROR")?;
    same("code", at(&event, "/object/code"), 410)?;
    same("reason", at(&event, "/object/reason"), "Expired")?;
    ensure!(
        text(&event, "/object/message").starts_with("too old resource version: 1 ("),
        "{event}"
    );
    Ok(())
}
