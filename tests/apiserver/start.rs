//! The testbed itself: it is what it says it is, and leaves nothing behind.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::Condition;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, CustomResourceExt, ResourceExt};
use serde_json::json;

use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::{ReplicationDestination, ReplicationSource};

use crate::testbed::{Options, Testbed};

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn it_is_kubernetes_1_36_and_serves_every_kind() {
    let testbed = Testbed::shared().await;
    let version = testbed.client().apiserver_version().await.unwrap();
    assert_eq!(
        (version.major.as_str(), version.minor.as_str()),
        ("1", "36")
    );

    let crds: Api<CustomResourceDefinition> = Api::all(testbed.client());
    let served: BTreeSet<_> = crds
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter(|crd| is_crd_established().matches_object(Some(crd)))
        .map(|crd| crd.name_any())
        .collect();
    for name in [
        ReplicationSource::crd_name(),
        ReplicationDestination::crd_name(),
        VolumeSnapshot::crd_name(),
    ] {
        assert!(
            served.contains(name),
            "{name} is not Established; these are: {served:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn the_audit_log_names_who_wrote_what() {
    let testbed = Testbed::shared().await;
    let namespace = testbed.namespace("audit").await;
    let ada = testbed.user("ada", Some("system:masters")).await;
    let maps: Api<ConfigMap> = Api::namespaced(ada.client(), &namespace);
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "note"}, "data": {"a": "1"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();

    let event = testbed
        .audit()
        .expect("ada's create", |event| {
            event.namespace == namespace && event.name == "note" && event.is_write()
        })
        .await;
    assert_eq!(
        (event.user.as_str(), event.verb.as_str(), event.code),
        ("ada", "create", 201)
    );
    assert_eq!(
        (event.resource.as_str(), event.subresource.as_str()),
        ("configmaps", "")
    );
    assert_eq!(event.stage, "ResponseComplete");
    assert_eq!(event.user_agent, "locksmith-testbed");
    assert!(
        event
            .uri
            .starts_with(&format!("/api/v1/namespaces/{namespace}/configmaps")),
        "{}",
        event.uri
    );
    assert_eq!(event.request_body.unwrap()["data"]["a"], "1");
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn controllers_collect_garbage_and_release_claims() {
    let testbed = Testbed::shared().await;
    let namespace = testbed.namespace("controllers").await;
    let sources: Api<ReplicationSource> = Api::namespaced(testbed.client(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(testbed.client(), &namespace);
    let owner = sources
        .create(
            &PostParams::default(),
            &ReplicationSource::new("owner", Default::default()),
        )
        .await
        .unwrap();
    let claim = json!({
        "metadata": {"name": "cache", "ownerReferences": [{
            "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
            "name": "owner", "uid": owner.uid(), "controller": true,
        }]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let claim = claims
        .create(
            &PostParams::default(),
            &serde_json::from_value(claim).unwrap(),
        )
        .await
        .unwrap();
    assert!(
        claim
            .finalizers()
            .iter()
            .any(|f| f == "kubernetes.io/pvc-protection"),
        "{:?}",
        claim.finalizers()
    );

    sources
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    testbed
        .until(claims, "cache", |claim: Option<&PersistentVolumeClaim>| {
            claim.is_none()
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn dropping_a_testbed_ends_it_and_removes_its_directory() {
    let testbed = Testbed::start(Options {
        controllers: false,
        crds: Vec::new(),
    })
    .await;
    let kubeconfig = testbed.kubeconfig().to_owned();
    let directory = kubeconfig.parent().unwrap().to_owned();
    let client = testbed.client();
    drop(testbed);
    assert!(
        client.apiserver_version().await.is_err(),
        "the API server still answers"
    );
    assert_eq!(commands_naming(&directory), Vec::<String>::new());
    let kept = std::env::var_os("LOCKSMITH_KEEP").is_some_and(|value| !value.is_empty());
    assert_eq!(directory.exists(), kept);
}

/// Command lines of running processes that have `directory` in them.
fn commands_naming(directory: &Path) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|command| command.contains(directory.to_str().unwrap()))
        .collect()
}
