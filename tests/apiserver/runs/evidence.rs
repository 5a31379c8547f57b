//! Evidence of deleted objects, from the cluster through the Remediation back into the cluster.
//!
//! 1. A deleted ReplicationSource is recorded with fields unknown to this program (`restic.repository`, `retain`).
//! 2. `locksmith evidence` prints a list that `kubectl create -f -` accepts.
//! 3. The objects that kubectl creates have the spec and the labels of the deleted ones.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, CustomResourceExt};
use locksmith::api::remediation::Phase;
use locksmith::api::volsync::ReplicationSource;
use serde_json::{Value, json};

use crate::runs::approval::{approve, waiting_for_a_person};
use crate::support::command::{locksmith, said};
use crate::support::stage::{Settings, Setup, Stage};

/// The definition with movers that accept any field, as upstream's have many.
fn with_any_mover_options() -> CustomResourceDefinition {
    let mut crd = json!(ReplicationSource::crd());
    let restic = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/restic");
    restic.unwrap()["x-kubernetes-preserve-unknown-fields"] = Value::Bool(true);
    serde_json::from_value(crd).unwrap()
}

fn create(kubeconfig: &Path, list: &[u8]) {
    let mut kubectl = Command::new(crate::render::tool("kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["create", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl.stdin.take().unwrap().write_all(list).unwrap();
    let output = kubectl.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn deleted_source_is_recreated_from_its_evidence() {
    let stage = Stage::jammed_with(Setup {
        sources: Some(with_any_mover_options()),
        ..Setup::default()
    })
    .await;
    let [orphan, ..] = &stage.jam.orphaned[..] else {
        panic!("no orphan")
    };
    let restic = json!({
        "repository": "orphan-restic", "retain": {"daily": 7, "within": "3d"}, "pruneIntervalDays": 14
    });
    let patch = json!({
        "metadata": {"labels": {"team": "media"}, "annotations": {"why": "a test"}},
        "spec": {"restic": restic}
    });
    stage
        .patch::<ReplicationSource>(&orphan.namespace, &orphan.name, &patch)
        .await;
    let resource = ApiResource::erase::<ReplicationSource>(&());
    let sources: Api<DynamicObject> =
        Api::namespaced_with(stage.testbed.client(), &orphan.namespace, &resource);
    let before = sources.get(&orphan.name).await.unwrap();

    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    approve(&stage, &name).await;
    assert_eq!(stage.finished().await.phase, Phase::Succeeded);
    assert!(sources.get_opt(&orphan.name).await.unwrap().is_none());

    let kubeconfig = stage.testbed.kubeconfig();
    for format in ["yaml", "json"] {
        let printed = locksmith(kubeconfig, &["evidence", &name, "-o", format]).await;
        assert!(printed.status.success(), "{}", said(&printed));
        create(kubeconfig, &printed.stdout);
        let after = sources.get(&orphan.name).await.unwrap();
        assert_eq!(after.data["spec"], before.data["spec"]);
        assert_eq!(after.data["spec"]["restic"]["repository"], "orphan-restic");
        assert_eq!(after.metadata.labels, before.metadata.labels);
        assert_eq!(after.metadata.annotations, before.metadata.annotations);
        for orphan in &stage.jam.orphaned {
            let sources = stage.api::<ReplicationSource>(&orphan.namespace);
            sources
                .delete(&orphan.name, &Default::default())
                .await
                .unwrap();
        }
    }
}
