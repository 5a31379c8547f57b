//! Discovery and authorization.

use anyhow::{Context as _, ensure};
use kube::discovery::Discovery;
use serde_json::{Value, json};

use super::Outcome;
use crate::ground::{Ground, at, same, text};

fn named<'v>(list: &'v Value, pointer: &str, name: &str) -> Option<&'v Value> {
    list.pointer(pointer)?
        .as_array()?
        .iter()
        .find(|r| r["name"] == name)
}

pub async fn groups_and_resources_are_listed(g: Ground) -> Outcome {
    let groups = g.get("/apis").await?.is(200)?;
    let group = named(&groups, "/groups", "contract.locksmith.dev").context("no group")?;
    same("preferred", at(group, "/preferredVersion/version"), "v1")?;
    let list = g.get("/apis/contract.locksmith.dev/v1").await?.is(200)?;
    let widgets = named(&list, "/resources", "widgets").context("no widgets")?;
    let found = json!([
        widgets["kind"],
        widgets["namespaced"],
        widgets["shortNames"],
        widgets["singularName"]
    ]);
    same("widgets", found, json!(["Widget", true, ["wd"], "widget"]))?;
    ensure!(named(&list, "/resources", "widgets/status").is_some());
    ensure!(named(&list, "/resources", "gadgets/status").is_none());
    let core = g.get("/api/v1").await?.is(200)?;
    let eviction = named(&core, "/resources", "pods/eviction").context("no evictions")?;
    same(
        "eviction",
        json!([eviction["group"], eviction["kind"]]),
        json!(["policy", "Eviction"]),
    )?;
    let discovered = Discovery::new(g.client.clone()).run().await?;
    ensure!(discovered.groups().any(|g| g.name() == "apps"));
    Ok(())
}

pub async fn all_is_listed_at_once(g: Ground) -> Outcome {
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let list = g.get_as("/api", accept).await?.is(200)?;
    same(
        "kind",
        json!([list["kind"], list["apiVersion"]]),
        json!(["APIGroupDiscoveryList", "apidiscovery.k8s.io/v2"]),
    )?;
    let resources = at(&list, "/items/0/versions/0/resources");
    let pods = resources
        .as_array()
        .into_iter()
        .flatten()
        .find(|r| r["resource"] == "pods")
        .context("no pods")?;
    same("scope", at(pods, "/scope"), "Namespaced")?;
    same("kind", at(pods, "/responseKind/kind"), "Pod")?;
    let discovered = Discovery::new(g.client.clone()).run_aggregated().await?;
    let group = discovered
        .groups()
        .find(|g| g.name() == "contract.locksmith.dev")
        .context("no group")?;
    let (widget, capabilities) = group.recommended_kind("Widget").context("no widgets")?;
    same("plural", widget.plural, "widgets")?;
    ensure!(capabilities.supports_operation("watch"));
    Ok(())
}

pub async fn an_unknown_path_is_not_found(g: Ground) -> Outcome {
    for path in [
        "/apis/nothing.example/v1",
        "/apis/nothing.example/v1/things",
        "/apis/apps/v1/things",
    ] {
        g.get(path).await?.is(404)?;
    }
    let path = g.of("nothing.example/v1", "things/a");
    g.get(&path).await?.is(404)?;
    let pods: kube::Api<kube::core::DynamicObject> = kube::Api::namespaced_with(
        g.client.clone(),
        &g.namespace,
        &kube::core::ApiResource {
            group: "nothing.example".into(),
            version: "v1".into(),
            api_version: "nothing.example/v1".into(),
            kind: "Thing".into(),
            plural: "things".into(),
        },
    );
    let error = pods.get("a").await.err().context("found")?;
    let found = matches!(&error, kube::Error::Api(status) if status.code == 404);
    ensure!(found, "{error}");
    Ok(())
}

/// Before it sends a manifest, `kubectl` checks whether the server validates fields.
pub async fn the_server_tells_that_it_validates(g: Ground) -> Outcome {
    let index = g.get("/openapi/v3").await?.is(200)?;
    for (root, kind) in [
        ("api/v1", "Pod"),
        ("apis/contract.locksmith.dev/v1", "Widget"),
    ] {
        let url = index["paths"][root]["serverRelativeURL"]
            .as_str()
            .context(root)?
            .to_owned();
        let document = g.get(&url).await?.is(200)?;
        let paths = document["paths"].as_object().context("no paths")?;
        let checks = paths.values().filter_map(|p| p.get("patch")).any(|patch| {
            let parameters = patch["parameters"].as_array().cloned().unwrap_or_default();
            text(patch, "/x-kubernetes-group-version-kind/kind") == kind
                && parameters
                    .iter()
                    .any(|p| p["name"] == "fieldValidation" && p["in"] == "query")
        });
        ensure!(checks, "{root} does not tell");
    }
    Ok(())
}

pub async fn everybody_may_ask_for_access(g: Ground) -> Outcome {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": g.namespace}},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = g.post(path, review).await?.is(201)?;
    same("allowed", at(&answer, "/status/allowed"), true)
}

pub async fn a_token_is_known_again(g: Ground) -> Outcome {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    g.post(&g.core("serviceaccounts"), account).await?.is(201)?;
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = g
        .post(&g.core("serviceaccounts/robot/token"), request)
        .await?
        .is(201)?;
    let review = async |token: &str| {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        g.post("/apis/authentication.k8s.io/v1/tokenreviews", review)
            .await?
            .is(201)
    };
    let known = review(text(&answer, "/status/token")).await?;
    same("authenticated", at(&known, "/status/authenticated"), true)?;
    let user = format!("system:serviceaccount:{}:robot", g.namespace);
    same("user", at(&known, "/status/user/username"), user)?;
    let unknown = review("nobody's").await?;
    ensure!(
        at(&unknown, "/status/authenticated") != json!(true),
        "{unknown}"
    );
    Ok(())
}
