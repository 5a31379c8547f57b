//! DELETE, and its consequences.

use anyhow::ensure;
use serde_json::{Value, json};

use super::Outcome;
use super::update::OTHER_UID;
use crate::ground::{Ground, at, cause_fields, claim, config_map, pod, same, says, text};

fn held(name: &str) -> Value {
    let mut body = config_map(name);
    body["metadata"]["finalizers"] = json!(["contract.locksmith.dev/hold"]);
    body
}

fn owned_by(name: &str, owner: &Value) -> Value {
    let mut body = config_map(name);
    body["metadata"]["ownerReferences"] = json!([reference(owner)]);
    body
}

fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "controller": false, "blockOwnerDeletion": true,
        "name": at(owner, "/metadata/name"), "uid": at(owner, "/metadata/uid"),
    })
}

pub async fn an_object_goes(g: Ground) -> Outcome {
    let object = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    let status = g.delete(&path, Value::Null).await?.is(200)?;
    same("status", at(&status, "/status"), "Success")?;
    let details = json!({"kind": "configmaps", "name": "a", "uid": at(&object, "/metadata/uid")});
    same("details", at(&status, "/details"), details)?;
    g.get(&path).await?.refused(404, "NotFound").map(drop)
}

pub async fn an_absent_object_is_not_found(g: Ground) -> Outcome {
    g.delete(&g.core("configmaps/a"), Value::Null)
        .await?
        .refused(404, "NotFound")
        .map(drop)
}

pub async fn another_uid_conflicts(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let options = json!({"preconditions": {"uid": OTHER_UID}});
    let status = g
        .delete(&g.core("configmaps/a"), options)
        .await?
        .refused(409, "Conflict")?;
    says(
        &status,
        &format!("the UID in the precondition ({OTHER_UID}) does not match the UID in record"),
    )
}

pub async fn a_stale_version_conflicts(g: Ground) -> Outcome {
    let old = g.config_map("a").await?;
    let path = g.core("configmaps/a");
    let new = g.merge(&path, json!({"data": {"b": "2"}})).await?.is(200)?;
    let options = |object: &Value| {
        json!({"preconditions": {
            "uid": at(object, "/metadata/uid"),
            "resourceVersion": at(object, "/metadata/resourceVersion"),
        }})
    };
    let status = g
        .delete(&path, options(&old))
        .await?
        .refused(409, "Conflict")?;
    says(&status, "the ResourceVersion in the precondition")?;
    g.delete(&path, options(&new)).await?.is(200).map(drop)
}

pub async fn a_finalizer_holds_it(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), held("a")).await?.is(201)?;
    let path = g.core("configmaps/a");
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    ensure!(
        !text(&object, "/metadata/deletionTimestamp").is_empty(),
        "{object}"
    );
    same(
        "grace",
        at(&object, "/metadata/deletionGracePeriodSeconds"),
        0,
    )?;
    g.delete(&path, Value::Null).await?.is(200)?;
    g.get(&path).await?.is(200)?;
    let object = g
        .merge(&path, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)?;
    same(
        "finalizers",
        at(&object, "/metadata/finalizers"),
        json!(null),
    )?;
    g.get(&path).await?.refused(404, "NotFound").map(drop)
}

pub async fn no_finalizer_is_added_to_what_goes(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), held("a")).await?.is(201)?;
    let path = g.core("configmaps/a");
    g.delete(&path, Value::Null).await?.is(200)?;
    let both = json!(["contract.locksmith.dev/hold", "contract.locksmith.dev/more"]);
    let patch = json!({"metadata": {"finalizers": both}});
    let status = g.merge(&path, patch).await?.refused(422, "Invalid")?;
    ensure!(
        cause_fields(&status)
            .iter()
            .all(|f| f == "metadata.finalizers"),
        "{status}"
    );
    says(
        &status,
        "no new finalizers can be added if the object is being deleted",
    )?;
    g.merge(&path, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn deletion_cannot_be_taken_back(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), held("a")).await?.is(201)?;
    let path = g.core("configmaps/a");
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    let patch = json!({"metadata": {"deletionTimestamp": null, "deletionGracePeriodSeconds": null}, "data": {"b": "2"}});
    let after = g.merge(&path, patch).await?.is(200)?;
    let pointer = "/metadata/deletionTimestamp";
    same(
        "deletionTimestamp",
        at(&after, pointer),
        at(&object, pointer),
    )?;
    same("data", at(&after, "/data/b"), "2")?;
    g.merge(&path, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn a_deletion_counts_as_a_generation(g: Ground) -> Outcome {
    g.widget("a", json!({"color": "red"})).await?;
    let path = format!("{}/a", g.widgets());
    let hold = json!({"metadata": {"finalizers": ["contract.locksmith.dev/hold"]}});
    let object = g.merge(&path, hold).await?.is(200)?;
    same("held", at(&object, "/metadata/generation"), 1)?;
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    same("deleting", at(&object, "/metadata/generation"), 2)?;
    g.merge(&path, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)
        .map(drop)
}

pub async fn a_dry_run_deletes_nothing(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let path = g.core("configmaps/a");
    g.delete(&path, json!({"dryRun": ["All"]})).await?.is(200)?;
    g.get(&path).await?.is(200).map(drop)
}

pub async fn a_collection_goes_by_label(g: Ground) -> Outcome {
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut body = config_map(name);
        body["metadata"]["labels"] = json!({"l": label});
        g.post(&g.core("configmaps"), body).await?.is(201)?;
    }
    g.delete(&g.core("configmaps?labelSelector=l%3Dx"), Value::Null)
        .await?
        .is(200)?;
    let list = g
        .get(&g.core("configmaps?labelSelector=l"))
        .await?
        .is(200)?;
    let names: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| at(o, "/metadata/name"))
        .collect();
    same("left", names, json!(["c"]))
}

pub async fn dependents_follow_their_owner(g: Ground) -> Outcome {
    let owner = g.config_map("owner").await?;
    g.post(&g.core("configmaps"), owned_by("a", &owner))
        .await?
        .is(201)?;
    g.delete(
        &g.core("configmaps/owner"),
        json!({"propagationPolicy": "Background"}),
    )
    .await?
    .is(200)?;
    g.until_gone(&g.core("configmaps/a")).await
}

pub async fn dependents_of_several_owners_stay_with_the_rest(g: Ground) -> Outcome {
    let (one, two) = (g.config_map("one").await?, g.config_map("two").await?);
    let mut body = owned_by("a", &one);
    body["metadata"]["ownerReferences"] = json!([reference(&one), reference(&two)]);
    g.post(&g.core("configmaps"), body).await?.is(201)?;
    g.delete(&g.core("configmaps/one"), Value::Null)
        .await?
        .is(200)?;
    let left = json!([at(&two, "/metadata/uid")]);
    let uids = |o: &Value| -> Value {
        let owners = at(o, "/metadata/ownerReferences");
        owners
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| r["uid"].clone())
            .collect()
    };
    g.until(&g.core("configmaps/a"), "left with one owner", |a| {
        uids(&a.body) == left
    })
    .await
    .map(drop)
}

pub async fn orphans_stay(g: Ground) -> Outcome {
    let owner = g.config_map("owner").await?;
    g.post(&g.core("configmaps"), owned_by("a", &owner))
        .await?
        .is(201)?;
    g.delete(
        &g.core("configmaps/owner"),
        json!({"propagationPolicy": "Orphan"}),
    )
    .await?
    .is(200)?;
    g.until_gone(&g.core("configmaps/owner")).await?;
    let object = g.get(&g.core("configmaps/a")).await?.is(200)?;
    same(
        "owners",
        at(&object, "/metadata/ownerReferences"),
        json!(null),
    )
}

pub async fn the_owner_waits_in_the_foreground(g: Ground) -> Outcome {
    let owner = g.config_map("owner").await?;
    let mut body = owned_by("a", &owner);
    body["metadata"]["finalizers"] = json!(["contract.locksmith.dev/hold"]);
    g.post(&g.core("configmaps"), body).await?.is(201)?;
    let path = g.core("configmaps/owner");
    let object = g
        .delete(&path, json!({"propagationPolicy": "Foreground"}))
        .await?
        .is(200)?;
    same(
        "finalizers",
        at(&object, "/metadata/finalizers"),
        json!(["foregroundDeletion"]),
    )?;
    let dependent = g.core("configmaps/a");
    let deleting =
        |a: &crate::ground::Answer| !text(&a.body, "/metadata/deletionTimestamp").is_empty();
    g.until(&dependent, "deleting", deleting).await?;
    g.get(&path).await?.is(200)?;
    g.merge(&dependent, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)?;
    g.until_gone(&path).await
}

pub async fn a_namespace_takes_its_objects_with_it(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), held("a")).await?.is(201)?;
    g.widget("w", json!({"color": "red"})).await?;
    let path = format!("/api/v1/namespaces/{}", g.namespace);
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    same("phase", at(&object, "/status/phase"), "Terminating")?;
    g.until_gone(&format!("{}/w", g.widgets())).await?;
    // Still held by its finalizer.
    g.get(&path).await?.is(200)?;
    g.merge(
        &g.core("configmaps/a"),
        json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .is(200)?;
    g.until_gone(&path).await
}

pub async fn a_namespace_that_goes_takes_nothing_new(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), held("a")).await?.is(201)?;
    g.delete(&format!("/api/v1/namespaces/{}", g.namespace), Value::Null)
        .await?
        .is(200)?;
    let status = g
        .post(&g.core("configmaps"), config_map("b"))
        .await?
        .refused(403, "Forbidden")?;
    says(&status, "because it is being terminated")?;
    same(
        "cause",
        at(&status, "/details/causes/0/reason"),
        "NamespaceTerminating",
    )?;
    g.merge(
        &g.core("configmaps/a"),
        json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .is(200)
    .map(drop)
}

pub async fn a_namespace_is_let_go_through_finalize_only(g: Ground) -> Outcome {
    let path = format!("/api/v1/namespaces/{}", g.namespace);
    let object = g
        .merge(&path, json!({"spec": {"finalizers": null}}))
        .await?
        .is(200)?;
    same(
        "finalizers",
        at(&object, "/spec/finalizers"),
        json!(["kubernetes"]),
    )?;
    let mut both = object;
    both["spec"]["finalizers"] = json!(["kubernetes", "contract.locksmith.dev/hold"]);
    both["metadata"]["labels"]["more"] = json!("x");
    let object = g
        .put(&format!("{path}/finalize"), both.clone())
        .await?
        .is(200)?;
    same(
        "finalizers",
        at(&object, "/spec/finalizers"),
        at(&both, "/spec/finalizers"),
    )?;
    g.delete(&path, Value::Null).await?.is(200)?;
    let hold = json!(["contract.locksmith.dev/hold"]);
    let emptied = |a: &crate::ground::Answer| at(&a.body, "/spec/finalizers") == hold;
    let mut last = g
        .until(&path, "emptied and held by us alone", emptied)
        .await?
        .is(200)?;
    last["spec"]["finalizers"] = json!([]);
    // Its conditions may still change.
    last["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    g.put(&format!("{path}/finalize"), last).await?.is(200)?;
    g.until_gone(&path).await
}

pub async fn a_claim_in_use_stays(g: Ground) -> Outcome {
    let path = g.core("persistentvolumeclaims");
    let object = g.post(&path, claim("a")).await?.is(201)?;
    same(
        "finalizers",
        at(&object, "/metadata/finalizers"),
        json!(["kubernetes.io/pvc-protection"]),
    )?;
    let mut user = pod("user");
    user["spec"]["nodeName"] = json!("nowhere");
    user["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "a"}}]);
    g.post(&g.core("pods"), user).await?.is(201)?;
    let path = format!("{path}/a");
    let object = g.delete(&path, Value::Null).await?.is(200)?;
    same("kind", at(&object, "/kind"), "PersistentVolumeClaim")?;
    g.delete(&g.core("pods/user"), json!({"gracePeriodSeconds": 0}))
        .await?
        .is(200)?;
    g.until_gone(&path).await
}
