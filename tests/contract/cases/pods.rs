//! Pods: grace period, binding, eviction, logs.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use super::update::OTHER_UID;
use crate::ground::{Ground, at, pod, same, says, text};

pub async fn a_scheduled_pod_gets_time_to_stop(g: Ground) -> Outcome {
    g.pod("a", "nowhere").await?;
    let path = g.core("pods/a");
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    same(
        "grace",
        at(&object, "/metadata/deletionGracePeriodSeconds"),
        30,
    )?;
    ensure!(!text(&object, "/metadata/deletionTimestamp").is_empty());
    same("generation", at(&object, "/metadata/generation"), 2)?;
    g.get(&path).await?.is(200)?;
    // As the kubelet does at the end.
    g.delete(&path, json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)?;
    g.get(&path).await?.refused(404, "NotFound").map(drop)
}

pub async fn time_to_stop_is_only_shortened(g: Ground) -> Outcome {
    g.pod("a", "nowhere").await?;
    let path = g.core("pods/a");
    let grace = "/metadata/deletionGracePeriodSeconds";
    let object = g
        .delete(&path, json!({"gracePeriodSeconds": 20}))
        .await?
        .is(200)?;
    same("first", at(&object, grace), 20)?;
    g.delete(&path, json!({"gracePeriodSeconds": 25}))
        .await?
        .is(200)?;
    same("longer", at(&g.get(&path).await?.is(200)?, grace), 20)?;
    g.delete(&path, json!({"gracePeriodSeconds": 5}))
        .await?
        .is(200)?;
    same("shorter", at(&g.get(&path).await?.is(200)?, grace), 5)?;
    g.delete(&path, json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn an_unscheduled_pod_goes_at_once(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let path = g.core("pods/a");
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    same("kind", at(&object, "/kind"), "Pod")?;
    g.get(&path).await?.refused(404, "NotFound").map(drop)
}

pub async fn a_finished_pod_goes_at_once(g: Ground) -> Outcome {
    g.pod("a", "nowhere").await?;
    let path = g.core("pods/a");
    g.merge(
        &format!("{path}/status"),
        json!({"status": {"phase": "Succeeded"}}),
    )
    .await?
    .is(200)?;
    g.delete(&path, Value::Null).await?.is(200)?;
    g.get(&path).await?.refused(404, "NotFound").map(drop)
}

fn binding(node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

pub async fn a_binding_schedules(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let status = g
        .post(&g.core("pods/a/binding"), binding("nowhere"))
        .await?
        .is(201)?;
    same("status", at(&status, "/status"), "Success")?;
    let object = g.get(&g.core("pods/a")).await?.is(200)?;
    same("node", at(&object, "/spec/nodeName"), "nowhere")?;
    let conditions = at(&object, "/status/conditions");
    let scheduled = conditions
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "PodScheduled");
    same(
        "scheduled",
        scheduled.map(|c| c["status"].clone()).unwrap_or_default(),
        "True",
    )?;
    g.delete(&g.core("pods/a"), json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn a_second_binding_conflicts(g: Ground) -> Outcome {
    g.pod("a", "nowhere").await?;
    let status = g
        .post(&g.core("pods/a/binding"), binding("elsewhere"))
        .await?
        .refused(409, "Conflict")?;
    says(&status, r#"pod a is already assigned to node "nowhere""#)?;
    g.delete(&g.core("pods/a"), json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)
        .map(drop)
}

fn eviction(options: &Value) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": options})
}

pub async fn an_eviction_deletes(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let status = g
        .post(&g.core("pods/a/eviction"), eviction(&json!({})))
        .await?
        .is(201)?;
    same("status", at(&status, "/status"), "Success")?;
    g.until_gone(&g.core("pods/a")).await
}

pub async fn an_eviction_keeps_its_preconditions(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let body = eviction(&json!({"preconditions": {"uid": OTHER_UID}}));
    g.post(&g.core("pods/a/eviction"), body)
        .await?
        .refused(409, "Conflict")?;
    g.get(&g.core("pods/a")).await?.is(200).map(drop)
}

pub async fn the_spec_is_fixed_but_for_images(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let path = g.core("pods/a");
    let status = g
        .merge(&path, json!({"spec": {"hostNetwork": true}}))
        .await?
        .refused(422, "Invalid")?;
    says(&status, "pod updates may not change fields other than")?;
    let operation = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "registry.example/main:2"}]);
    let object = g
        .patch(crate::ground::JSON, &path, operation)
        .await?
        .is(200)?;
    same(
        "image",
        at(&object, "/spec/containers/0/image"),
        "registry.example/main:2",
    )
}

pub async fn status_leaves_the_spec_alone(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    let patch = json!({
        "metadata": {"annotations": {"a": "b"}},
        "spec": {"containers": [{"name": "main", "image": "registry.example/main:2"}]},
        "status": {"phase": "Running"},
    });
    let object = g.merge(&g.core("pods/a/status"), patch).await?.is(200)?;
    same("phase", at(&object, "/status/phase"), "Running")?;
    same(
        "image",
        at(&object, "/spec/containers/0/image"),
        "registry.example/main:1",
    )?;
    let object = g
        .merge(&g.core("pods/a"), json!({"status": {"phase": "Failed"}}))
        .await?
        .is(200)?;
    same("phase", at(&object, "/status/phase"), "Running")
}

pub async fn logs_of_an_absent_pod_are_not_found(g: Ground) -> Outcome {
    let status = g
        .get(&g.core("pods/a/log"))
        .await?
        .refused(404, "NotFound")?;
    says(&status, r#"pods "a" not found"#)
}

pub async fn logs_of_an_unscheduled_pod_are_empty(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    same("log", g.get(&g.core("pods/a/log")).await?.is(204)?, "")
}

pub async fn logs_name_a_container_where_there_are_several(g: Ground) -> Outcome {
    let mut body = pod("a");
    let container = json!({"name": "side", "image": "side:1"});
    body["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(container);
    g.post(&g.core("pods"), body).await?.is(201)?;
    let status = g
        .get(&g.core("pods/a/log"))
        .await?
        .refused(400, "BadRequest")?;
    says(
        &status,
        "a container name must be specified for pod a, choose one of: [main side]",
    )?;
    let status = g
        .get(&g.core("pods/a/log?container=other"))
        .await?
        .refused(400, "BadRequest")?;
    says(&status, "container other is not valid for pod a")
}
