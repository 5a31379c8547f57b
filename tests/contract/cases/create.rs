//! POST.

use anyhow::ensure;
use serde_json::json;

use super::Outcome;
use crate::ground::{
    Ground, at, cause_fields, claim, config_map, deployment, pod, same, says, text, widget,
};

pub async fn metadata_is_filled_in(g: Ground) -> Outcome {
    let object = g.config_map("a").await?;
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        ensure!(
            !text(&object, &format!("/metadata/{field}")).is_empty(),
            "no {field}: {object}"
        );
    }
    same(
        "namespace",
        at(&object, "/metadata/namespace"),
        g.namespace.as_str(),
    )?;
    same(
        "generation",
        at(&object, "/metadata/generation"),
        json!(null),
    )?;
    let read = g.get(&g.core("configmaps/a")).await?.is(200)?;
    same("what is read", read, object)
}

pub async fn system_metadata_of_the_body_is_replaced(g: Ground) -> Outcome {
    let mut body = config_map("a");
    body["metadata"]["uid"] = json!("mine");
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    body["metadata"]["generation"] = json!(7);
    let object = g.post(&g.core("configmaps"), body).await?.is(201)?;
    ensure!(text(&object, "/metadata/uid") != "mine");
    ensure!(text(&object, "/metadata/creationTimestamp") > "2020");
    Ok(())
}

pub async fn names_are_generated(g: Ground) -> Outcome {
    let mut body = config_map("");
    body["metadata"] = json!({"generateName": "made-"});
    let one = g.post(&g.core("configmaps"), body.clone()).await?.is(201)?;
    let two = g.post(&g.core("configmaps"), body).await?.is(201)?;
    let (one, two) = (text(&one, "/metadata/name"), text(&two, "/metadata/name"));
    ensure!(
        one.starts_with("made-") && one.len() == "made-".len() + 5,
        "{one}"
    );
    ensure!(one != two);
    Ok(())
}

pub async fn a_name_is_required(g: Ground) -> Outcome {
    let mut body = config_map("");
    body["metadata"] = json!({});
    let status = g
        .post(&g.core("configmaps"), body)
        .await?
        .refused(422, "Invalid")?;
    says(&status, "name or generateName is required")
}

pub async fn a_name_is_taken_once(g: Ground) -> Outcome {
    g.config_map("a").await?;
    let again = g.post(&g.core("configmaps"), config_map("a")).await?;
    let status = again.refused(409, "AlreadyExists")?;
    says(&status, r#"configmaps "a" already exists"#)?;
    same(
        "details",
        at(&status, "/details"),
        json!({"kind": "configmaps", "name": "a"}),
    )
}

pub async fn a_name_is_a_dns_name(g: Ground) -> Outcome {
    let status = g
        .post(&g.core("configmaps"), config_map("Not_A_Name"))
        .await?
        .refused(422, "Invalid")?;
    says(&status, "a lowercase RFC 1123 subdomain must consist of")?;
    same(
        "causes",
        json!(cause_fields(&status)),
        json!(["metadata.name"]),
    )
}

pub async fn a_label_value_is_checked(g: Ground) -> Outcome {
    let mut body = config_map("a");
    body["metadata"]["labels"] = json!({"a": "not valid!"});
    let status = g
        .post(&g.core("configmaps"), body)
        .await?
        .refused(422, "Invalid")?;
    same(
        "causes",
        json!(cause_fields(&status)),
        json!(["metadata.labels"]),
    )
}

pub async fn a_namespace_has_to_exist(g: Ground) -> Outcome {
    let path = "/api/v1/namespaces/nowhere-at-all/configmaps";
    let status = g
        .post(path, config_map("a"))
        .await?
        .refused(404, "NotFound")?;
    says(&status, r#"namespaces "nowhere-at-all" not found"#)
}

pub async fn a_namespace_in_the_body_has_to_match(g: Ground) -> Outcome {
    let mut body = config_map("a");
    body["metadata"]["namespace"] = json!("default");
    let status = g
        .post(&g.core("configmaps"), body)
        .await?
        .refused(400, "BadRequest")?;
    says(
        &status,
        "the namespace of the provided object does not match the namespace sent on the request",
    )
}

pub async fn another_kind_is_refused(g: Ground) -> Outcome {
    g.post(&g.core("configmaps"), pod("a"))
        .await?
        .refused(400, "BadRequest")?;
    g.post(&g.widgets(), pod("a"))
        .await?
        .refused(400, "BadRequest")
        .map(drop)
}

pub async fn a_dry_run_stores_nothing(g: Ground) -> Outcome {
    let path = g.core("configmaps?dryRun=All");
    let object = g.post(&path, config_map("a")).await?.is(201)?;
    ensure!(!text(&object, "/metadata/uid").is_empty());
    same(
        "resourceVersion",
        at(&object, "/metadata/resourceVersion"),
        json!(null),
    )?;
    g.get(&g.core("configmaps/a"))
        .await?
        .refused(404, "NotFound")
        .map(drop)
}

pub async fn unknown_fields_are_dropped_with_a_warning(g: Ground) -> Outcome {
    let mut body = pod("a");
    body["spec"]["colour"] = json!("red");
    let answer = g.post(&g.core("pods"), body).await?;
    ensure!(
        answer
            .warnings
            .iter()
            .any(|w| w.contains(r#"unknown field \"spec.colour\""#)),
        "{:?}",
        answer.warnings
    );
    same(
        "the field",
        at(&answer.is(201)?, "/spec/colour"),
        json!(null),
    )
}

pub async fn unknown_fields_are_refused_when_strict(g: Ground) -> Outcome {
    let mut body = pod("a");
    body["spec"]["containers"][0]["colour"] = json!("red");
    let status = g
        .post(&g.core("pods?fieldValidation=Strict"), body)
        .await?
        .refused(400, "BadRequest")?;
    says(
        &status,
        r#"strict decoding error: unknown field "spec.containers[0].colour""#,
    )
}

pub async fn unknown_fields_are_dropped_in_silence_when_ignored(g: Ground) -> Outcome {
    let mut body = widget("a", json!({"color": "red", "weight": 1}));
    body["extra"] = json!(1);
    let answer = g
        .post(&format!("{}?fieldValidation=Ignore", g.widgets()), body)
        .await?;
    ensure!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    let object = answer.is(201)?;
    same(
        "fields",
        json!([object["extra"], object["spec"]["weight"]]),
        json!([null, null]),
    )
}

pub async fn a_wrong_json_type_is_a_bad_request(g: Ground) -> Outcome {
    let mut body = pod("a");
    body["spec"]["terminationGracePeriodSeconds"] = json!("soon");
    let status = g
        .post(&g.core("pods"), body)
        .await?
        .refused(400, "BadRequest")?;
    says(&status, r#"Pod in version "v1" cannot be handled as a Pod"#)
}

pub async fn a_pod_gets_its_defaults(g: Ground) -> Outcome {
    let object = g.pod("a", "").await?;
    same("phase", at(&object, "/status/phase"), "Pending")?;
    same(
        "restartPolicy",
        at(&object, "/spec/restartPolicy"),
        "Always",
    )?;
    same(
        "grace",
        at(&object, "/spec/terminationGracePeriodSeconds"),
        30,
    )?;
    same(
        "pull policy",
        at(&object, "/spec/containers/0/imagePullPolicy"),
        "IfNotPresent",
    )?;
    same("generation", at(&object, "/metadata/generation"), 1)
}

pub async fn a_pod_needs_containers(g: Ground) -> Outcome {
    let mut body = pod("a");
    body["spec"] = json!({});
    let status = g
        .post(&g.core("pods"), body)
        .await?
        .refused(422, "Invalid")?;
    same(
        "causes",
        json!(cause_fields(&status)),
        json!(["spec.containers"]),
    )?;
    same("kind", at(&status, "/details/kind"), "Pod")
}

pub async fn a_deployment_selects_its_template(g: Ground) -> Outcome {
    let mut body = deployment("a");
    body["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    let status = g
        .post(&g.of("apps/v1", "deployments"), body)
        .await?
        .refused(422, "Invalid")?;
    says(&status, "`selector` does not match template `labels`")
}

pub async fn a_secret_takes_texts(g: Ground) -> Outcome {
    let body = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"},
        "data": {"old": "eA=="}, "stringData": {"new/key": "x"},
    });
    g.post(&g.core("secrets"), body.clone())
        .await?
        .refused(422, "Invalid")?;
    let mut body = body;
    body["stringData"] = json!({"new.key": "x"});
    let object = g.post(&g.core("secrets"), body).await?.is(201)?;
    same(
        "data",
        at(&object, "/data"),
        json!({"old": "eA==", "new.key": "eA=="}),
    )?;
    same("type", at(&object, "/type"), "Opaque")?;
    same("stringData", at(&object, "/stringData"), json!(null))
}

pub async fn a_claim_needs_a_size(g: Ground) -> Outcome {
    let mut body = claim("a");
    body["spec"]["resources"] = json!({});
    let status = g
        .post(&g.core("persistentvolumeclaims"), body)
        .await?
        .refused(422, "Invalid")?;
    says(&status, "spec.resources[storage]: Required value")
}

pub async fn the_default_class_is_filled_in(g: Ground) -> Outcome {
    let name = format!("default-{}", g.namespace);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "x.example",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    });
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = g.post(classes, class).await?.is(201)?;
    same("binding", at(&class, "/volumeBindingMode"), "Immediate")?;
    let mut body = claim("a");
    body["spec"]
        .as_object_mut()
        .unwrap()
        .remove("storageClassName");
    // A real server reads classes from a cache, which is delayed.
    for attempt in 0.. {
        body["metadata"]["name"] = json!(format!("a{attempt}"));
        let claim = g
            .post(&g.core("persistentvolumeclaims"), body.clone())
            .await?
            .is(201)?;
        if text(&claim, "/spec/storageClassName") == name {
            break;
        }
        ensure!(attempt < 100, "no class: {claim}");
    }
    g.delete(&format!("{classes}/{name}"), json!(null))
        .await?
        .is(200)
        .map(drop)
}

pub async fn a_job_selects_its_pods_by_uid(g: Ground) -> Outcome {
    let body = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"},
        "spec": {"suspend": true, "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "registry.example/main:1"}],
        }}},
    });
    let job = g.post(&g.of("batch/v1", "jobs"), body).await?.is(201)?;
    let uid = at(&job, "/metadata/uid");
    let selected = at(&job, "/spec/selector/matchLabels");
    same(
        "selector",
        selected,
        json!({"batch.kubernetes.io/controller-uid": uid}),
    )?;
    same(
        "job-name",
        at(&job, "/spec/template/metadata/labels/job-name"),
        "a",
    )
}
