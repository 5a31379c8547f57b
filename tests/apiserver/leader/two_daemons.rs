//! Two daemons in two namespaces of one cluster: each drives the Remediations of its own namespace alone.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use locksmith::api::remediation::{Phase, Remediation, RemediationSpec, Trigger};

use serde_json::json;

use crate::support::stage::{DRIVER, NAMESPACE, Settings, Stage};

/// As many as open the breaker.
const FAILED: [&str; 3] = ["failed-1", "failed-2", "failed-3"];

/// Attack: a Remediation in a namespace for which another daemon is responsible, or none; and others there, which are said to
/// be under way, or to have failed just now, so that the breaker and the cooldown keep all runs from beginning. Defence: a
/// daemon reads those of its own namespace alone.
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
    for (name, phase) in [("running", Phase::Running)]
        .into_iter()
        .chain(FAILED.map(|name| (name, Phase::Failed)))
    {
        let forged = Remediation::new(name, theirs.spec.clone());
        elsewhere
            .create(&PostParams::default(), &forged)
            .await
            .unwrap();
        let now = Timestamp::now();
        let finished = phase.finished().then_some(now);
        let status = json!({"status": {"phase": phase, "startedAt": now, "finishedAt": finished}});
        elsewhere
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let is_over = |run: &Arc<Remediation>| {
        let status = run.status.as_ref();
        let own = run.metadata.namespace.as_deref() == Some(NAMESPACE);
        own && status.is_some_and(|status| status.phase.finished())
    };
    let runs = stage
        .until::<Remediation>("the run to be over", |runs| runs.iter().any(is_over))
        .await;
    let own = runs.iter().find(|run| is_over(run)).unwrap();
    assert_eq!(own.status.as_ref().unwrap().phase, Phase::Succeeded);
    let theirs = elsewhere.get("theirs").await.unwrap();
    assert_eq!(theirs.status, None, "nobody has touched it");
    let samples = daemon.metrics().await;
    assert!(samples["locksmith_breaker_failures"] < 0.5);
    let of_theirs =
        |name: &&String| name.contains("namespace=\"default\"") && name.contains("remediation");
    assert_eq!(samples.keys().find(of_theirs), None);
}
