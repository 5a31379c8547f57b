//! Failed preconditions on the API server, on which guarded writes rely.

use axum::http::{Request, Response, StatusCode};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::client::Body;
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use locksmith::api::volsync::{ReplicationSource, ReplicationSourceSpec};

use crate::testbed::Testbed;

const MANAGER: &str = "locksmith-test";
/// A well-formed uid that no object has.
const OTHER_UID: &str = "00000000-0000-4000-8000-000000000000";

/// A source in its own namespace.
struct Ground {
    testbed: &'static Testbed,
    sources: Api<ReplicationSource>,
    namespace: String,
}

impl Ground {
    async fn new() -> Self {
        let testbed = Testbed::shared().await;
        let namespace = testbed.namespace("writes").await;
        Self {
            testbed,
            sources: Api::namespaced(testbed.client(), &namespace),
            namespace,
        }
    }

    async fn source(&self, name: &str) -> ReplicationSource {
        let spec = ReplicationSourceSpec {
            source_pvc: Some(name.into()),
            ..ReplicationSourceSpec::default()
        };
        self.sources
            .create(&PostParams::default(), &ReplicationSource::new(name, spec))
            .await
            .unwrap()
    }

    /// Another writer changes the object, and so its resourceVersion.
    async fn touch(&self, name: &str) -> ReplicationSource {
        self.merge(name, &json!({"metadata": {"labels": {"touched": "yes"}}}))
            .await
            .unwrap()
    }

    async fn merge(&self, name: &str, patch: &Value) -> Result<ReplicationSource, Box<Status>> {
        status(
            self.sources
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await,
        )
    }

    async fn apply(
        &self,
        name: &str,
        params: PatchParams,
        spec: Value,
    ) -> Result<ReplicationSource, Box<Status>> {
        self.apply_to(json!({"name": name}), params, spec).await
    }

    async fn apply_to(
        &self,
        metadata: Value,
        params: PatchParams,
        spec: Value,
    ) -> Result<ReplicationSource, Box<Status>> {
        let name = metadata["name"].as_str().unwrap().to_owned();
        let object = json!({
            "apiVersion": "volsync.backube/v1alpha1",
            "kind": "ReplicationSource",
            "metadata": metadata,
            "spec": spec,
        });
        status(
            self.sources
                .patch(&name, &params, &Patch::Apply(object))
                .await,
        )
    }
}

fn status<T>(result: kube::Result<T>) -> Result<T, Box<Status>> {
    result.map_err(|error| match error {
        kube::Error::Api(status) => status,
        other => panic!("not an answer of the API server: {other}"),
    })
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn merge_patch_of_spec_suspend_is_pruned_with_a_warning() {
    let ground = Ground::new().await;
    let before = ground.source("prowlarr").await;
    let uri = format!(
        "/apis/volsync.backube/v1alpha1/namespaces/{}/replicationsources/prowlarr",
        ground.namespace
    );
    let request = Request::patch(uri)
        .header("content-type", "application/merge-patch+json")
        .body(Body::from(br#"{"spec":{"suspend":true}}"#.to_vec()))
        .unwrap();
    let response: Response<Body> = ground.testbed.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let warning = response
        .headers()
        .get("warning")
        .expect("a warning")
        .to_str()
        .unwrap();
    assert!(
        warning.contains(r#"unknown field \"spec.suspend\""#),
        "{warning}"
    );
    let after = ground.sources.get("prowlarr").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn strict_validation_refuses_an_unknown_field() {
    let ground = Ground::new().await;
    let before = ground.source("prowlarr").await;
    let strict = PatchParams::default().validation_strict();
    let patch = Patch::Merge(json!({"spec": {"suspend": true, "paused": true}}));
    let refused = status(ground.sources.patch("prowlarr", &strict, &patch).await).unwrap_err();
    assert_eq!(refused.code, 422, "{}", refused.message);
    assert!(
        refused.message.contains(r#"unknown field "spec.suspend""#),
        "{}",
        refused.message
    );
    // It quotes the whole object, so it must never be shown unchanged.
    assert!(
        refused.message.contains(r#"\"sourcePVC\":\"prowlarr\""#),
        "{}",
        refused.message
    );
    let after = ground.sources.get("prowlarr").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert_eq!(after.spec.paused, None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn apply_to_an_absent_name_creates_unless_a_uid_is_given() {
    let ground = Ground::new().await;
    let ours = || PatchParams::apply(MANAGER);
    let hold = json!({"paused": true});
    let created = ground.apply("ghost", ours(), hold.clone()).await.unwrap();
    assert_eq!(
        created.spec,
        ReplicationSourceSpec {
            paused: Some(true),
            ..Default::default()
        }
    );

    let guarded = json!({"name": "second-ghost", "uid": OTHER_UID});
    let refused = ground.apply_to(guarded, ours(), hold).await.unwrap_err();
    assert_eq!(refused.code, 409, "{}", refused.message);
    assert!(
        refused.message.contains("uid mismatch"),
        "{}",
        refused.message
    );
    assert_eq!(ground.sources.get_opt("second-ghost").await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn merge_patch_respects_version_and_uid() {
    let ground = Ground::new().await;
    let stale = ground.source("prowlarr").await;
    let current = ground.touch("prowlarr").await;
    let hold = |metadata: Value| json!({"metadata": metadata, "spec": {"paused": true}});

    let version = hold(json!({"resourceVersion": stale.resource_version()}));
    let refused = ground.merge("prowlarr", &version).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (409, "Conflict"),
        "{}",
        refused.message
    );

    let other = json!({"uid": OTHER_UID, "resourceVersion": current.resource_version()});
    let refused = ground.merge("prowlarr", &hold(other)).await.unwrap_err();
    assert!(
        matches!(refused.code, 409 | 422),
        "{} {}",
        refused.code,
        refused.message
    );
    let other = json!({"uid": OTHER_UID});
    let refused = ground.merge("prowlarr", &hold(other)).await.unwrap_err();
    assert_eq!(refused.code, 422, "{}", refused.message);
    assert!(
        refused.message.contains("field is immutable"),
        "{}",
        refused.message
    );

    let refused = ground
        .merge("absent", &hold(json!({"uid": current.uid()})))
        .await
        .unwrap_err();
    assert_eq!(refused.code, 404, "{}", refused.message);
    assert_eq!(
        ground.sources.get("prowlarr").await.unwrap().spec.paused,
        None
    );

    let both = hold(json!({"uid": current.uid(), "resourceVersion": current.resource_version()}));
    assert_eq!(
        ground.merge("prowlarr", &both).await.unwrap().spec.paused,
        Some(true)
    );
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn delete_respects_version_and_uid() {
    let ground = Ground::new().await;
    let stale = ground.source("prowlarr").await;
    let current = ground.touch("prowlarr").await;
    let delete = async |uid: Option<String>, resource_version: Option<String>| {
        let preconditions = Some(Preconditions {
            uid,
            resource_version,
        });
        status(
            ground
                .sources
                .delete(
                    "prowlarr",
                    &DeleteParams {
                        preconditions,
                        ..DeleteParams::default()
                    },
                )
                .await,
        )
    };

    let refused = delete(current.uid(), stale.resource_version())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (409, "Conflict"),
        "{}",
        refused.message
    );
    let other = Some(OTHER_UID.to_owned());
    let refused = delete(other, None).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (409, "Conflict"),
        "{}",
        refused.message
    );
    assert!(ground.sources.get_opt("prowlarr").await.unwrap().is_some());

    delete(current.uid(), current.resource_version())
        .await
        .unwrap();
    assert_eq!(ground.sources.get_opt("prowlarr").await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn apply_conflict_names_the_other_manager() {
    let ground = Ground::new().await;
    let ours = || PatchParams::apply(MANAGER);
    let theirs = json!({"sourcePVC": "prowlarr", "paused": false});
    ground
        .apply("prowlarr", PatchParams::apply("flux"), theirs)
        .await
        .unwrap();

    let hold = json!({"paused": true});
    let refused = ground
        .apply("prowlarr", ours(), hold.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code, 409, "{}", refused.message);
    assert!(
        refused.message.contains(r#"conflict with "flux""#),
        "{}",
        refused.message
    );

    // Forcing takes the field over; releasing it then loses their value.
    let taken = ground
        .apply("prowlarr", ours().force(), hold)
        .await
        .unwrap();
    assert_eq!(taken.spec.paused, Some(true));
    let released = ground.apply("prowlarr", ours(), json!({})).await.unwrap();
    assert_eq!(released.spec.paused, None);
}

#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn merge_patch_of_an_applied_value_records_no_owner() {
    let ground = Ground::new().await;
    let ours = || PatchParams::apply(MANAGER);
    ground.source("prowlarr").await;
    ground
        .apply("prowlarr", ours(), json!({"paused": true}))
        .await
        .unwrap();

    // A person pauses a paused source: nothing is recorded for them.
    let person = PatchParams {
        field_manager: Some("kubectl-patch".into()),
        ..Default::default()
    };
    let patch = Patch::Merge(json!({"spec": {"paused": true}}));
    let patched = ground
        .sources
        .patch("prowlarr", &person, &patch)
        .await
        .unwrap();
    let managers: Vec<_> = patched
        .managed_fields()
        .iter()
        .filter_map(|entry| entry.manager.as_deref())
        .collect();
    assert!(!managers.contains(&"kubectl-patch"), "{managers:?}");

    let released = ground.apply("prowlarr", ours(), json!({})).await.unwrap();
    assert_eq!(released.spec.paused, None);
}
