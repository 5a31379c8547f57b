//! Two daemons in two namespaces of one cluster: each drives the Remediations of its own namespace alone.

use kube::Api;
use kube::api::PostParams;
use locksmith::api::remediation::{
    Phase, Remediation, RemediationSpec, RemediationStatus, Trigger,
};

use crate::stage::{DRIVER, Settings, Stage};

/// Attack: a Remediation in a namespace for which another daemon is responsible, or none. Defence: a daemon drives those of its
/// own namespace, and neither joins nor deletes others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_of_another_namespace_is_not_driven() {
    let stage = Stage::jammed().await;
    let spec = RemediationSpec {
        playbook: "csi-operation-locks".to_owned(),
        driver: DRIVER.into(),
        trigger: Trigger::default(),
        approval: None,
        abort: false,
    };
    let elsewhere: Api<Remediation> = Api::namespaced(stage.testbed.client(), "default");
    let theirs = Remediation::new("theirs", spec);
    elsewhere
        .create(&PostParams::default(), &theirs)
        .await
        .unwrap();

    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let over = |status: &RemediationStatus| status.phase.finished();
    let own = stage
        .run_of("csi-operation-locks", "the run to be over", over)
        .await;
    assert_ne!(own.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(own.status.unwrap().phase, Phase::Succeeded);
    let theirs = elsewhere.get("theirs").await.unwrap();
    assert_eq!(theirs.status, None, "nobody has touched it");
}
