//! People change the cluster while the program acts.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use locksmith::api::RESTART_ANNOTATION;
use locksmith::api::remediation::Phase;
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::scenario::App;
use locksmith::demo::world::WAITING_CLASS;
use serde_json::{Value, json};

use crate::support::stage::{Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn changes_that_people_make_during_a_run_are_kept() {
    let stage = Stage::jammed().await;
    let paused = json!({"spec": {"paused": true}});
    stage
        .patch::<ReplicationSource>("media", "plex", &paused)
        .await;
    let waiting = App::new("media", "waiting").class(WAITING_CLASS).claim();
    stage
        .api::<PersistentVolumeClaim>("media")
        .create(&Default::default(), &waiting)
        .await
        .unwrap();
    let daemon = stage.daemon(&Settings::default()).await;
    // Everything else that waits is a finding by now, and so is old enough.
    let (_, status) = daemon.get("/api/v1/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let findings = status["findings"].as_array().unwrap();
    assert!(findings.len() >= 12, "{findings:#?}");
    let about = |finding: &&Value| finding.pointer("/object/name") == Some(&json!("waiting"));
    assert_eq!(findings.iter().find(about), None);

    stage.fire(&daemon).await;
    let planned = stage
        .run_until("the plan to be on record", |status| status.plan.is_some())
        .await;
    let sources = stage.api::<ReplicationSource>("selfhosted");
    sources.delete("mealie", &Default::default()).await.unwrap();
    let plan = planned.plan.unwrap();
    let targets: Vec<_> = plan.steps.iter().flat_map(|step| &step.targets).collect();
    let awaits = targets
        .iter()
        .any(|target| &*target.object.name == "waiting");
    let mut held = plan.steps[0].held_sources();
    let holds = held.any(|(_, name)| **name == *"mealie");
    assert!(holds && !awaits, "{plan:#?}");

    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    assert_eq!(sources.get_opt("mealie").await.unwrap(), None);
    let plex = stage.api::<ReplicationSource>("media").get("plex").await;
    let plex = plex.unwrap();
    assert_eq!(plex.spec.paused, Some(true));
    for event in stage.writes_elsewhere().await {
        let theirs = event.resource == "replicationsources" && event.name == "plex";
        assert!(!theirs && event.verb != "create", "{event:#?}");
    }
    let claims = stage.api::<PersistentVolumeClaim>("media");
    let waiting = claims.get("waiting").await.unwrap();
    assert!(
        !waiting.managed_fields().iter().any(is_ours),
        "{waiting:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn concurrently_scaled_provisioner_keeps_its_replicas() {
    let (namespace, name) = ("rook-ceph", "csi-rbdplugin-provisioner");
    let stage = Stage::jammed().await;
    let settings = Settings {
        // Long enough for a person to act in between.
        settle: "15s",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let one = json!({"spec": {"replicas": 1}});
    stage.patch::<Deployment>(namespace, name, &one).await;

    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Failed, "{}", daemon.log_text());
    let why = "restartProvisioner failed: somebody scaled";
    assert!(status.message.contains(why), "{}", status.message);
    assert!(stage.restarts().await.is_empty());
    let provisioner = stage.api::<Deployment>(namespace).get(name).await.unwrap();
    let spec = provisioner.spec.unwrap();
    assert_eq!(spec.replicas, Some(1));
    let annotations = spec.template.metadata.unwrap().annotations;
    assert!(
        !annotations
            .unwrap_or_default()
            .contains_key(RESTART_ANNOTATION)
    );
    stage.nothing_is_held().await;
}

fn is_ours(entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some("locksmith")
}
