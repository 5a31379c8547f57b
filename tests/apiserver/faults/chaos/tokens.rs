//! The token of the program's service account.

use std::path::Path;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt;
use locksmith::api::remediation::Phase;
use serde_json::json;

use crate::support::stage::{NAMESPACE, Rights, Settings, Setup, Stage, lacks_right, named};

use super::PATIENCE;

/// Writes a token of the program's account to `file`, valid as long as the Secret `name` exists.
async fn issue(stage: &Stage, name: &str, file: &Path) {
    let secret = named::<Secret>(json!({"name": name}), json!({}));
    let secrets = stage.api::<Secret>(NAMESPACE);
    let secret = secrets.create(&Default::default(), &secret).await.unwrap();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(name.to_owned()),
                uid: secret.uid(),
            }),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let accounts = stage.api::<ServiceAccount>(NAMESPACE);
    let issued = accounts
        .create_token_request("locksmith", &Default::default(), &request)
        .await
        .unwrap();
    // Replaced atomically, as by the kubelet: a reader sees the old or the new one.
    let new = file.with_extension("new");
    std::fs::write(&new, issued.status.unwrap().token).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// The program's token becomes invalid during a run, and its file gets another one: the run continues and succeeds in the
/// same process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_rotated_token() {
    let stage = Stage::jammed_with(Setup {
        rights: Rights::Installed("act"),
        ..Setup::default()
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    issue(&stage, "first", &file).await;
    let user = stage.testbed.by_token_file("locksmith", &file).await;
    let settings = Settings {
        deadline: "1h",
        // The step may wait for a leader.
        delete_within: "5m",
        ..Settings::default()
    };
    let daemon = stage.daemon_as(&user, &settings, &[]).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    stage
        .api::<Secret>(NAMESPACE)
        .delete("first", &Default::default())
        .await
        .unwrap();
    // The API server caches the old token for some seconds.
    daemon
        .until("the token to be refused", |samples| {
            samples["locksmith_leader"] == 0.0
        })
        .await;
    issue(&stage, "second", &file).await;
    let status = stage.finished_within(PATIENCE).await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    stage.pending_are_bound().await;
    assert!(daemon.log_text().contains("Unauthorized"));
    assert!(!stage.everything().await.iter().any(lacks_right));
    stage.forget_run().await;
    stage.released().await;
}
