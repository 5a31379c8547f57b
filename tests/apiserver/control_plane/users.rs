//! Users and service accounts are distinguished and authorized by RBAC.

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::testbed::Testbed;

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn user_without_a_role_is_refused() {
    let testbed = Testbed::shared().await;
    let maps: Api<ConfigMap> = Api::all(testbed.user("nobody", None).await.client());
    let Err(kube::Error::Api(refused)) = maps.list(&ListParams::default()).await else {
        panic!("listed without a role");
    };
    assert!(refused.is_forbidden(), "{}", refused.message);
    assert!(
        refused.message.contains(r#"User "nobody""#),
        "{}",
        refused.message
    );
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn service_account_has_the_rights_of_its_binding() {
    let testbed = Testbed::shared().await;
    let namespace = testbed.namespace("identities").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(testbed.client(), &namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": "reader"}})).unwrap();
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(testbed.client(), &namespace);
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}],
    });
    bindings
        .create(
            &PostParams::default(),
            &serde_json::from_value(binding).unwrap(),
        )
        .await
        .unwrap();

    let reader = testbed.service_account(&namespace, "reader").await;
    let maps: Api<ConfigMap> = Api::namespaced(reader.client(), &namespace);
    maps.list(&ListParams::default()).await.unwrap();
    let map = serde_json::from_value(json!({"metadata": {"name": "note"}})).unwrap();
    let Err(kube::Error::Api(refused)) = maps.create(&PostParams::default(), &map).await else {
        panic!("a reader wrote");
    };
    assert!(refused.is_forbidden(), "{}", refused.message);

    let user = format!("system:serviceaccount:{namespace}:reader");
    let event = testbed
        .audit()
        .expect("the refused write", |event| {
            event.user == user && event.is_write()
        })
        .await;
    assert_eq!(event.code, 403);
}
