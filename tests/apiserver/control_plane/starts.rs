//! The testbed itself: it starts with the expected versions, and leaves nothing behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, Client, CustomResourceExt, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use locksmith::api::remediation::Remediation;
use locksmith::api::snapshot::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use locksmith::api::volsync::{ReplicationDestination, ReplicationSource, ReplicationSourceSpec};

use crate::compare::differences;
use crate::support::stage::named;
use crate::testbed::{Options, PooledTestbed, Testbed};

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn testbed_is_kubernetes_1_36_and_serves_every_kind() {
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
async fn snapshot_types_are_a_subset_of_the_served_ones() {
    let testbed = Testbed::shared().await;
    let crds: Api<CustomResourceDefinition> = Api::all(testbed.client());
    for ours in [
        VolumeSnapshot::crd(),
        VolumeSnapshotContent::crd(),
        VolumeSnapshotClass::crd(),
    ] {
        let theirs = crds.get(&ours.name_any()).await.unwrap();
        assert_eq!(
            differences(&ours, &theirs),
            Vec::<String>::new(),
            "{}",
            ours.name_any()
        );
    }
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn audit_log_has_user_and_object_of_each_write() {
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
            &ReplicationSource::new("owner", ReplicationSourceSpec::default()),
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
async fn dropped_testbed_ends_and_removes_its_directory() {
    let testbed = Testbed::start(Options {
        controllers: false,
        ..Default::default()
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

/// If this is set, the next test, run in a child process, waits to be killed.
const VICTIM: &str = "LOCKSMITH_TEST_VICTIM";

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn killed_test_leaves_no_server_running() {
    if std::env::var_os(VICTIM).is_some() {
        let testbed = Testbed::start(Options {
            controllers: false,
            ..Default::default()
        })
        .await;
        println!(
            "running in {}",
            testbed.kubeconfig().parent().unwrap().display()
        );
        return std::future::pending().await;
    }
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "control_plane::starts::killed_test_leaves_no_server_running",
        ])
        .args(["--ignored", "--nocapture"])
        .env(VICTIM, "yes")
        .env_remove("LOCKSMITH_KEEP")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let directory = loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the victim ended by itself");
        if let Some((_, directory)) = line.split_once("running in ") {
            break PathBuf::from(directory);
        }
    };
    assert!(
        commands_naming(&directory).len() >= 2,
        "no server runs in {}",
        directory.display()
    );
    victim.kill().await.unwrap();
    // The servers are ended asynchronously; the directory is removed last.
    let gone = async {
        while directory.exists() || !commands_naming(&directory).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let left = || {
        format!(
            "left in {}: {:?}",
            directory.display(),
            commands_naming(&directory)
        )
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .unwrap_or_else(|_| panic!("{}", left()));
}

/// Command lines of running processes that contain `directory`.
fn commands_naming(directory: &Path) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|command| command.contains(directory.to_str().unwrap()))
        .collect()
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn pooled_control_plane_has_no_objects_of_the_previous_test() {
    for _ in 0..2 {
        let testbed = PooledTestbed::take().await;
        let client = testbed.client();
        assert_eq!(
            names::<Namespace>(&client).await,
            ["default", "kube-node-lease", "kube-public", "kube-system"]
        );
        assert_eq!(names::<Remediation>(&client).await, [""; 0]);
        assert_eq!(names::<Deployment>(&client).await, [""; 0]);
        assert_eq!(names::<Pod>(&client).await, [""; 0]);
        let mut leases = names::<Lease>(&client).await;
        // Of the API server itself.
        leases.retain(|name| !name.starts_with("apiserver-"));
        assert_eq!(leases, [""; 0]);
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let view = roles.get("view").await.unwrap();
        assert_eq!(view.metadata.annotations.unwrap_or_default().len(), 1);

        // A run, a workload whose controllers work for it, and a change to an object that is always there.
        let namespace = testbed.namespace("used").await;
        let run = named::<Remediation>(
            json!({"name": "run"}),
            json!({"spec": {"playbook": "csi-operation-locks", "driver": "rbd"}}),
        );
        let runs: Api<Remediation> = Api::namespaced(client.clone(), &namespace);
        runs.create(&PostParams::default(), &run).await.unwrap();
        let lease = named::<Lease>(json!({"name": "leader"}), json!({}));
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        leases.create(&PostParams::default(), &lease).await.unwrap();
        let pods = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}});
        let deployment = named::<Deployment>(
            json!({"name": "x"}),
            json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": pods}}),
        );
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        let created = deployments
            .create(&PostParams::default(), &deployment)
            .await;
        created.unwrap();
        let observed = |deployment: Option<&Deployment>| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            status.is_some_and(|status| status.replicas == Some(2))
        };
        testbed.until(deployments, "x", observed).await;
        let annotated = json!({"metadata": {"annotations": {"changed": "yes"}}});
        roles
            .patch("view", &PatchParams::default(), &Patch::Merge(&annotated))
            .await
            .unwrap();
    }
}

/// The names of all objects of a kind, sorted.
async fn names<K>(client: &Client) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let all: Api<K> = Api::all(client.clone());
    let list = all.list(&ListParams::default()).await.unwrap();
    let mut names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}
