//! Two daemons in two namespaces of one cluster: each runs only the Remediations of its own namespace.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use locksmith::api::remediation::{Phase, Remediation, RemediationSpec, Trigger};

use serde_json::json;

use crate::support::stage::{DRIVER, NAMESPACE, Settings, Stage};

/// As many as trip the circuit breaker.
const FAILED: [&str; 3] = ["failed-1", "failed-2", "failed-3"];

/// Attack: a Remediation in a namespace of another daemon, or of none; and others there with the status of a current run,
/// or of a recent failure, so that circuit breaker and cooldown block all runs. Defence: a daemon reads only the
/// Remediations of its own namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_in_another_namespace_is_ignored() {
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
