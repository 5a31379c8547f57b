//! Custom resources: schema, status, generation, versions, definitions.

use anyhow::ensure;
use serde_json::json;

use super::Outcome;
use crate::ground::{Ground, at, cause_fields, same, says, text, widget};

const GADGETS: &str = "/apis/contract.locksmith.dev/v1/gadgets";

pub async fn unknown_fields_are_pruned_with_a_warning(g: Ground) -> Outcome {
    let body = widget("a", json!({"color": "red", "suspend": true}));
    let answer = g.post(&g.widgets(), body).await?;
    ensure!(
        answer
            .warnings
            .iter()
            .any(|w| w.contains(r#"unknown field \"spec.suspend\""#)),
        "{:?}",
        answer.warnings
    );
    same(
        "the field",
        at(&answer.is(201)?, "/spec/suspend"),
        json!(null),
    )
}

pub async fn unknown_fields_are_refused_when_strict(g: Ground) -> Outcome {
    let body = widget("a", json!({"color": "red", "suspend": true}));
    let path = format!("{}?fieldValidation=Strict", g.widgets());
    let status = g.post(&path, body).await?.refused(400, "BadRequest")?;
    says(
        &status,
        r#"strict decoding error: unknown field "spec.suspend""#,
    )
}

pub async fn every_violation_is_a_cause(g: Ground) -> Outcome {
    let spec = json!({
        "size": 11,
        "note": "NOT SMALL",
        "parts": [{"image": "x"}],
    });
    let status = g
        .post(&g.widgets(), widget("a", spec))
        .await?
        .refused(422, "Invalid")?;
    // Only the first: rules are evaluated after everything else is valid.
    let expected = json!([
        "<nil>",
        "spec.color",
        "spec.note",
        "spec.parts[0].name",
        "spec.size"
    ]);
    same("causes", json!(cause_fields(&status)), expected)?;
    let details = json!([
        at(&status, "/details/group"),
        at(&status, "/details/kind"),
        at(&status, "/details/name")
    ]);
    same(
        "details",
        details,
        json!(["contract.locksmith.dev", "Widget", "a"]),
    )?;
    says(&status, "spec.color: Required value")?;
    says(
        &status,
        "spec.size in body should be less than or equal to 10",
    )?;
    says(&status, "spec.note in body should match '^[a-z ]*$'")?;
    says(
        &status,
        "some validation rules were not checked because the object was invalid",
    )?;
    let parts = ["a", "b", "c", "d"].map(|name| json!({"name": name}));
    let spec = json!({"color": "red", "note": "a note that is too long", "parts": parts});
    let status = g
        .post(&g.widgets(), widget("a", spec))
        .await?
        .refused(422, "Invalid")?;
    says(
        &status,
        "spec.note: Too long: may not be more than 20 bytes",
    )?;
    says(
        &status,
        "spec.parts: Too many: 4: must have at most 3 items",
    )?;
    let status = g
        .post(&g.widgets(), widget("a", json!({"color": "pink"})))
        .await?
        .refused(422, "Invalid")?;
    says(
        &status,
        r#"spec.color: Unsupported value: "pink": supported values: "red", "green", "blue""#,
    )
}

pub async fn a_wrong_type_is_invalid(g: Ground) -> Outcome {
    let spec = json!({"color": "red", "paused": "yes"});
    let status = g
        .post(&g.widgets(), widget("a", spec))
        .await?
        .refused(422, "Invalid")?;
    says(
        &status,
        r#"spec.paused in body must be of type boolean: "string""#,
    )?;
    let spec = json!({"color": "red", "amount": true});
    g.post(&g.widgets(), widget("a", spec))
        .await?
        .refused(422, "Invalid")
        .map(drop)
}

pub async fn defaults_are_filled_in(g: Ground) -> Outcome {
    let object = g
        .widget("a", json!({"color": "red", "parts": [{"name": "p"}]}))
        .await?;
    same("size", at(&object, "/spec/size"), 3)?;
    same("policy", at(&object, "/spec/parts/0/policy"), "Always")
}

pub async fn a_null_is_dropped_unless_nullable(g: Ground) -> Outcome {
    let spec = json!({"color": "red", "size": null, "note": null, "nickname": null});
    let object = g.widget("a", spec).await?;
    same(
        "spec",
        at(&object, "/spec"),
        json!({"color": "red", "size": 3, "nickname": null}),
    )
}

pub async fn rules_say_what_may_not_change(g: Ground) -> Outcome {
    let spec = json!({"color": "red", "source": {"claim": "a", "content": "b"}});
    let status = g
        .post(&g.widgets(), widget("a", spec))
        .await?
        .refused(422, "Invalid")?;
    says(&status, "either, or")?;
    same(
        "causes",
        json!(cause_fields(&status)),
        json!(["spec.source"]),
    )?;
    g.widget(
        "a",
        json!({"color": "red", "source": {"claim": "a"}, "driver": "x"}),
    )
    .await?;
    let path = format!("{}/a", g.widgets());
    let status = g
        .merge(&path, json!({"spec": {"driver": "y"}}))
        .await?
        .refused(422, "Invalid")?;
    says(&status, "the driver cannot change")?;
    let patch = json!({"spec": {"source": {"claim": null, "content": "b"}}});
    let status = g.merge(&path, patch).await?.refused(422, "Invalid")?;
    says(&status, "a claim stays")?;
    g.merge(
        &path,
        json!({"spec": {"source": {"claim": "c"}, "driver": "x"}}),
    )
    .await?
    .is(200)?;
    g.merge(&path, json!({"spec": {"driver": null}}))
        .await?
        .is(200)?;
    g.merge(&path, json!({"spec": {"driver": "z"}}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn status_is_dropped_at_creation(g: Ground) -> Outcome {
    let mut body = widget("a", json!({"color": "red"}));
    body["status"] = json!({"phase": "Ready"});
    let object = g.post(&g.widgets(), body).await?.is(201)?;
    same("status", at(&object, "/status"), json!(null))
}

pub async fn status_and_spec_are_written_apart(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    let both = json!({
        "metadata": {"labels": {"l": "1"}},
        "spec": {"color": "green"},
        "status": {"phase": "Ready"},
    });
    let path = format!("{}/a", g.widgets());
    let object = g
        .merge(&format!("{path}/status"), both.clone())
        .await?
        .is(200)?;
    let found = json!([
        object["spec"]["color"],
        object["status"],
        object["metadata"]["labels"]
    ]);
    same(
        "through status",
        found,
        json!(["red", {"phase": "Ready"}, null]),
    )?;
    let mut other = both;
    other["status"] = json!({"phase": "Lost"});
    let object = g.merge(&path, other).await?.is(200)?;
    let found = json!([
        object["spec"]["color"],
        object["status"]["phase"],
        object["metadata"]["labels"]
    ]);
    same(
        "through the main path",
        found,
        json!(["green", "Ready", {"l": "1"}]),
    )
}

pub async fn a_kind_without_status_subresource_writes_it_with_the_rest(g: Ground) -> Outcome {
    let name = &g.namespace;
    let body = json!({
        "apiVersion": "contract.locksmith.dev/v1", "kind": "Gadget",
        "metadata": {"name": name}, "status": {"phase": "Ready"},
    });
    let object = g.post(GADGETS, body).await?.is(201)?;
    same("status", at(&object, "/status/phase"), "Ready")?;
    let path = format!("{GADGETS}/{name}");
    let object = g
        .merge(&path, json!({"status": {"phase": "Lost"}}))
        .await?
        .is(200)?;
    same("generation", at(&object, "/metadata/generation"), 2)?;
    g.get(&format!("{path}/status")).await?.is(404)?;
    g.delete(&path, json!(null)).await?.is(200).map(drop)
}

pub async fn generation_counts_changes_of_the_spec(g: Ground) -> Outcome {
    let path = format!("{}/a", g.widgets());
    let object = g.widget("a", json!({"color": "red"})).await?;
    same("at first", at(&object, "/metadata/generation"), 1)?;
    let object = g
        .merge(&path, json!({"metadata": {"labels": {"a": "b"}}}))
        .await?
        .is(200)?;
    same("after a label", at(&object, "/metadata/generation"), 1)?;
    let status = json!({"status": {"phase": "Ready"}});
    let object = g.merge(&format!("{path}/status"), status).await?.is(200)?;
    same("after a status", at(&object, "/metadata/generation"), 1)?;
    let patch = json!({"metadata": {"generation": 9}, "spec": {"size": 4}});
    let object = g.merge(&path, patch).await?.is(200)?;
    same("after the spec", at(&object, "/metadata/generation"), 2)
}

pub async fn open_objects_keep_everything(g: Ground) -> Outcome {
    let anything = json!({"deep": {"list": [1, {"x": null}], "n": 1.5}});
    let object = g
        .widget("a", json!({"color": "red", "anything": anything}))
        .await?;
    same("anything", at(&object, "/spec/anything"), anything)
}

pub async fn versions_share_their_objects(g: Ground) -> Outcome {
    let created = g.widget("a", json!({"color": "red"})).await?;
    let path = g.of("contract.locksmith.dev/v1beta1", "widgets/a");
    let object = g.get(&path).await?.is(200)?;
    same(
        "apiVersion",
        at(&object, "/apiVersion"),
        "contract.locksmith.dev/v1beta1",
    )?;
    same(
        "uid",
        at(&object, "/metadata/uid"),
        at(&created, "/metadata/uid"),
    )?;
    let object = g
        .merge(&path, json!({"spec": {"size": 5}}))
        .await?
        .is(200)?;
    same(
        "apiVersion",
        at(&object, "/apiVersion"),
        "contract.locksmith.dev/v1beta1",
    )?;
    let object = g.get(&format!("{}/a", g.widgets())).await?.is(200)?;
    same(
        "apiVersion",
        at(&object, "/apiVersion"),
        "contract.locksmith.dev/v1",
    )?;
    same("size", at(&object, "/spec/size"), 5)
}

pub async fn an_update_names_its_version(g: Ground) -> Outcome {
    let mut object = g.widget("a", json!({"color": "red"})).await?;
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let status = g
        .put(&format!("{}/a", g.widgets()), object)
        .await?
        .refused(422, "Invalid")?;
    says(&status, "metadata.resourceVersion: Invalid value")?;
    says(&status, "must be specified for an update")
}

pub async fn replicas_are_written_through_scale(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red", "replicas": 2}))
        .await?;
    let path = format!("{}/a/scale", g.widgets());
    let scale = g.get(&path).await?.is(200)?;
    same(
        "kind",
        json!([scale["kind"], scale["apiVersion"]]),
        json!(["Scale", "autoscaling/v1"]),
    )?;
    same("replicas", at(&scale, "/spec/replicas"), 2)?;
    let scale = g
        .merge(&path, json!({"spec": {"replicas": 5}}))
        .await?
        .is(200)?;
    same("scaled", at(&scale, "/spec/replicas"), 5)?;
    let object = g.get(&format!("{}/a", g.widgets())).await?.is(200)?;
    same(
        "object",
        json!([object["spec"]["replicas"], object["metadata"]["generation"]]),
        json!([5, 2]),
    )
}

pub async fn lists_select_by_declared_fields(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    g.widget("b", json!({"color": "green"})).await?;
    let list = g
        .get(&format!("{}?fieldSelector=spec.color%3Dgreen", g.widgets()))
        .await?
        .is(200)?;
    let items = at(&list, "/items");
    same("count", items.as_array().map(Vec::len), 1)?;
    same("name", text(&items[0], "/metadata/name"), "b")
}
