//! GET of collections.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, config_map, pod, same, says, text};

fn names(list: &Value) -> Value {
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| at(o, "/metadata/name"))
        .collect()
}

async fn widgets(g: &Ground, count: usize) -> Outcome {
    for index in 0..count {
        g.widget(&format!("w{index}"), json!({"color": "red"}))
            .await?;
    }
    Ok(())
}

pub async fn pages_follow_each_other_at_one_revision(g: Ground) -> Outcome {
    widgets(&g, 5).await?;
    let first = g.get(&format!("{}?limit=2", g.widgets())).await?.is(200)?;
    same("first", names(&first), json!(["w0", "w1"]))?;
    same("left", at(&first, "/metadata/remainingItemCount"), 3)?;
    // Objects created and deleted in between are not shown.
    g.widget("w15", json!({"color": "red"})).await?;
    g.delete(&format!("{}/w3", g.widgets()), Value::Null)
        .await?
        .is(200)?;
    let token = text(&first, "/metadata/continue");
    let second = g
        .get(&format!("{}?limit=2&continue={token}", g.widgets()))
        .await?
        .is(200)?;
    same("second", names(&second), json!(["w2", "w3"]))?;
    same(
        "revision",
        at(&second, "/metadata/resourceVersion"),
        at(&first, "/metadata/resourceVersion"),
    )?;
    let token = text(&second, "/metadata/continue");
    let third = g
        .get(&format!("{}?limit=2&continue={token}", g.widgets()))
        .await?
        .is(200)?;
    same("third", names(&third), json!(["w4"]))?;
    same("continue", text(&third, "/metadata/continue"), "")
}

pub async fn an_unknown_continuation_is_refused(g: Ground) -> Outcome {
    g.get(&format!("{}?limit=2&continue=nonsense", g.widgets()))
        .await?
        .refused(400, "BadRequest")
        .map(drop)
}

pub async fn labels_select(g: Ground) -> Outcome {
    for (name, labels) in [
        ("a", json!({"x": "1"})),
        ("b", json!({"x": "2", "y": ""})),
        ("c", json!({})),
    ] {
        let mut body = config_map(name);
        body["metadata"]["labels"] = labels;
        body["metadata"]["labels"]["mine"] = json!("yes");
        g.post(&g.core("configmaps"), body).await?.is(201)?;
    }
    for (selector, expected) in [
        ("x%3D1", json!(["a"])),
        ("x!%3D1", json!(["b", "c"])),
        ("x", json!(["a", "b"])),
        ("!x", json!(["c"])),
        ("x+in+(1,2),y", json!(["b"])),
        ("x+notin+(1)", json!(["b", "c"])),
        ("x%3E1", json!(["b"])),
    ] {
        let path = g.core(&format!("configmaps?labelSelector=mine,{selector}"));
        same(selector, names(&g.get(&path).await?.is(200)?), expected)?;
    }
    Ok(())
}

pub async fn names_select(g: Ground) -> Outcome {
    widgets(&g, 3).await?;
    let path = format!("{}?fieldSelector=metadata.name%3Dw1", g.widgets());
    same("one", names(&g.get(&path).await?.is(200)?), json!(["w1"]))?;
    let path = format!(
        "{}?fieldSelector=metadata.name!%3Dw1,metadata.namespace%3D{}",
        g.widgets(),
        g.namespace
    );
    same(
        "others",
        names(&g.get(&path).await?.is(200)?),
        json!(["w0", "w2"]),
    )
}

pub async fn pods_select_by_node_and_phase(g: Ground) -> Outcome {
    g.pod("a", "").await?;
    g.pod("b", "nowhere").await?;
    let path = g.core("pods?fieldSelector=spec.nodeName%3Dnowhere");
    same(
        "by node",
        names(&g.get(&path).await?.is(200)?),
        json!(["b"]),
    )?;
    let path = g.core("pods?fieldSelector=status.phase%3DPending,spec.nodeName%3D");
    same(
        "by phase",
        names(&g.get(&path).await?.is(200)?),
        json!(["a"]),
    )?;
    g.delete(&g.core("pods/b"), json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn events_select_by_what_they_are_about(g: Ground) -> Outcome {
    for (name, about, kind) in [("e1", "a", "Normal"), ("e2", "b", "Warning")] {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "type": kind, "reason": "Tested",
            "involvedObject": {"kind": "Pod", "namespace": g.namespace, "name": about, "uid": format!("uid-{about}")},
        });
        g.post(&g.core("events"), event).await?.is(201)?;
    }
    for (selector, expected) in [
        ("involvedObject.name%3Da", json!(["e1"])),
        (
            "involvedObject.uid%3Duid-b,involvedObject.kind%3DPod",
            json!(["e2"]),
        ),
        ("type%3DWarning", json!(["e2"])),
        ("reason%3DTested,type!%3DWarning", json!(["e1"])),
    ] {
        let path = g.core(&format!("events?fieldSelector={selector}"));
        same(selector, names(&g.get(&path).await?.is(200)?), expected)?;
    }
    Ok(())
}

pub async fn an_unknown_field_label_is_refused(g: Ground) -> Outcome {
    let path = format!("{}?fieldSelector=spec.size%3D3", g.widgets());
    let status = g.get(&path).await?.refused(400, "BadRequest")?;
    says(&status, "field label not supported: spec.size")
}

pub async fn a_selector_that_makes_no_sense_is_refused(g: Ground) -> Outcome {
    let path = g.core("configmaps?labelSelector=a+in+b");
    g.get(&path).await?.refused(400, "BadRequest").map(drop)
}

pub async fn all_namespaces_are_listed_together(g: Ground) -> Outcome {
    let mut body = pod("a");
    body["metadata"]["labels"] = json!({"in": g.namespace});
    g.post(&g.core("pods"), body).await?.is(201)?;
    let list = g
        .get(&format!("/api/v1/pods?labelSelector=in%3D{}", g.namespace))
        .await?
        .is(200)?;
    same(
        "kind",
        json!([list["kind"], list["apiVersion"]]),
        json!(["PodList", "v1"]),
    )?;
    same("names", names(&list), json!(["a"]))
}

pub async fn a_revision_of_the_future_times_out(g: Ground) -> Outcome {
    let path = g.core("configmaps?resourceVersion=99999999");
    let status = g.get(&path).await?.refused(504, "Timeout")?;
    says(&status, "Too large resource version: 99999999")
}

pub async fn metadata_alone_is_served(g: Ground) -> Outcome {
    widgets(&g, 1).await?;
    let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let object = g
        .get_as(&format!("{}/w0", g.widgets()), one)
        .await?
        .is(200)?;
    same(
        "kind",
        json!([object["kind"], object["apiVersion"]]),
        json!(["PartialObjectMetadata", "meta.k8s.io/v1"]),
    )?;
    same("spec", at(&object, "/spec"), json!(null))?;
    ensure!(!text(&object, "/metadata/uid").is_empty());
    let all = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = g.get_as(&g.widgets(), all).await?.is(200)?;
    same("kind", at(&list, "/kind"), "PartialObjectMetadataList")?;
    same("names", names(&list), json!(["w0"]))?;
    g.get_as(&g.widgets(), "text/html")
        .await?
        .refused(406, "NotAcceptable")
        .map(drop)
}
