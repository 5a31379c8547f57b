//! Access to the webhook with authorization by the API server.

use std::time::Instant;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::render;
use crate::support::daemon::POLL;
use crate::support::stage::{NAMESPACE, PATIENCE, Rights, Settings, Setup, Stage, named};

/// Alertmanager's account, which has a token but no role yet.
async fn alertmanager(stage: &Stage) -> String {
    let accounts: Api<ServiceAccount> = stage.api("default");
    let account = named::<ServiceAccount>(json!({"name": "alertmanager"}), json!({}));
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let issued = accounts
        .create_token_request("alertmanager", &PostParams::default(), &request)
        .await
        .unwrap();
    issued.status.unwrap().token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn api_server_authenticates_and_authorizes_webhooks() {
    let stage = Stage::jammed_with(Setup {
        rights: Rights::Installed("observe"),
        ..Setup::default()
    })
    .await;
    let mut objects = render::objects(&render::helm(&["auth.kubernetes=true"]));
    objects.retain(|object| {
        let name = object["metadata"]["name"].as_str().unwrap();
        ["locksmith-auth", "locksmith-webhook"].contains(&name)
    });
    assert_eq!(objects.len(), 2);
    render::apply(stage.testbed.kubeconfig(), &objects);
    let settings = Settings {
        mode: "observe",
        auth: "{kubernetes: true}",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let alerts = json!({"version": "4", "groupKey": "{}", "alerts": []});

    assert_eq!(daemon.post_as(None, &alerts).await.0, 401);
    assert_eq!(daemon.post_as(Some("made.up.token"), &alerts).await.0, 401);
    let token = alertmanager(&stage).await;
    let (code, answer) = daemon.post_as(Some(&token), &alerts).await;
    assert_eq!(code, 403, "{answer}");
    let says = "system:serviceaccount:default:alertmanager may not post /webhook";
    assert_eq!(answer["error"], says);

    let binding = named::<ClusterRoleBinding>(
        json!({"name": "alertmanager-locksmith"}),
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "locksmith-webhook"},
            "subjects": [{"kind": "ServiceAccount", "name": "alertmanager", "namespace": "default"}],
        }),
    );
    let bindings: Api<ClusterRoleBinding> = Api::all(stage.testbed.client());
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    // The API server's authorizer sees the binding a moment later.
    let deadline = Instant::now() + PATIENCE;
    let (code, answer) = loop {
        let (code, answer) = daemon.post_as(Some(&token), &alerts).await;
        if !matches!(code, 403 | 503) || Instant::now() >= deadline {
            break (code, answer);
        }
        tokio::time::sleep(POLL).await;
    };
    assert_eq!(code, 200, "{answer}");

    // The reviews were requested by the installed account.
    let asked = stage.everything().await;
    for review in ["tokenreviews", "subjectaccessreviews"] {
        assert!(
            asked.iter().any(|event| event.resource == review),
            "{review}"
        );
    }
    assert!(asked.iter().all(|event| event.code != 403));
    assert!(stage.user.contains(NAMESPACE));
}
