//! Objects of the maximum size: those of tenants, and the program's own.
//!
//! The limits are those of Kubernetes: annotations of 256 KiB per object (`apimachinery/pkg/api/validation`), names of 253
//! characters and namespaces of 63, and 1.5 MiB for one object in etcd (`--max-request-bytes`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt, Resource, ResourceExt};
use locksmith::api::RESTART_ANNOTATION;
use locksmith::api::StepName;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Phase, RECORD_BYTES, Remediation, RemediationStatus, StepPhase};
use locksmith::api::snapshot::{BEING_CREATED, VolumeSnapshot, VolumeSnapshotContent};
use locksmith::api::volsync::{ReplicationSource, temporary_name};
use locksmith::demo::scenario::App;
use locksmith::demo::world::{SNAPSHOT_CLASS, Scope};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::runs::approval::waiting_for_a_person;
use crate::support::command::{locksmith, said};
use crate::support::daemon::{Daemon, POLL};
use crate::support::stage::{DRIVER, NAMESPACE, Settings, Stage, named};
use crate::testbed::{Event, Options, Testbed};

/// Maximum size of all keys and values of an object's annotations, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// Size of the annotations that other controllers add to an object during a run, in bytes.
const THEIRS: usize = 4 * 1024;

const FILLER: &str = "example.org/filler";

/// Fills the annotations of `object` except for `room` bytes.
async fn fill<K>(api: &Api<K>, object: &K, room: usize)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let known = object.annotations().iter();
    let known: usize = known.map(|(key, value)| key.len() + value.len()).sum();
    let filler = "x".repeat(ANNOTATIONS - known - FILLER.len() - room);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {FILLER: filler}}}));
    let name = object.name_any();
    api.patch(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Fills every object of a kind except for `room` bytes.
async fn fill_all<K>(stage: &Stage, room: usize)
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let all = stage.list::<K>().await;
    assert!(!all.is_empty());
    for object in all {
        let namespace = object.namespace().unwrap();
        fill(&stage.api::<K>(&namespace), &object, room).await;
    }
}

/// Number of refused writes per object; a lost Event does no harm.
fn refused(writes: &[Event]) -> BTreeMap<(String, String), usize> {
    let mut refused = BTreeMap::new();
    let writes = writes.iter().filter(|event| event.resource != "events");
    for event in writes.filter(|event| event.code == 422) {
        let object = (event.resource.clone(), event.name.clone());
        *refused.entry(object).or_default() += 1;
    }
    refused
}

/// A snapshot of an app with names of the maximum length, which the driver refuses.
async fn stuck_with_long_names(stage: &Stage) -> VolumeSnapshot {
    let (client, created) = (stage.testbed.client(), PostParams::default());
    let namespace = "n".repeat(63);
    let namespaces: Api<Namespace> = Api::all(client);
    let object = named(json!({"name": namespace}), json!({}));
    namespaces.create(&created, &object).await.unwrap();
    let name = "a".repeat(253);
    let claims = stage.api::<PersistentVolumeClaim>(&namespace);
    let claim = App::new(&namespace, &name).claim();
    claims
        .create(
            &created,
            &named(json!({"name": name}), json!({"spec": claim.spec})),
        )
        .await
        .unwrap();
    let is_bound = |claim: &Arc<PersistentVolumeClaim>| {
        let status = claim.status.as_ref();
        claim.name_any() == name
            && status.and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    stage
        .until::<PersistentVolumeClaim>("the claim to be Bound", |all| all.iter().any(is_bound))
        .await;

    stage.world.ceph().sicken(Scope::All);
    let source = "s".repeat(253 - temporary_name("").len());
    let sources = stage.api::<ReplicationSource>(&namespace);
    let spec = json!({"sourcePVC": name, "restic": {}, "trigger": {"manual": "once"}});
    let made = named(
        json!({"name": source}),
        json!({"spec": spec, "status": {"lastManualSync": "once"}}),
    );
    let made: ReplicationSource = sources.create(&created, &made).await.unwrap();
    let owner = json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "controller": true,
        "name": source, "uid": made.uid(),
    });
    let labels = json!({"app.kubernetes.io/created-by": "volsync"});
    let metadata =
        json!({"name": temporary_name(&source), "labels": labels, "ownerReferences": [owner]});
    let spec = json!({"source": {"persistentVolumeClaimName": name}, "volumeSnapshotClassName": SNAPSHOT_CLASS});
    let snapshots = stage.api::<VolumeSnapshot>(&namespace);
    let snapshot: VolumeSnapshot = named(metadata, json!({"spec": spec}));
    // VolSync may have created it first.
    let _ = snapshots.create(&created, &snapshot).await;
    let is_refused = |one: &Arc<VolumeSnapshot>| {
        let status = one.status.as_ref();
        one.name_any() == snapshot.name_any() && status.is_some_and(|status| status.error.is_some())
    };
    let all = stage
        .until::<VolumeSnapshot>("the snapshot to be refused", |all| {
            all.iter().any(is_refused)
        })
        .await;
    stage.world.ceph().heal();
    let stuck = all.iter().find(|one| is_refused(one)).unwrap();
    VolumeSnapshot::clone(stuck)
}

/// Attack: annotations of 256 KiB on all objects of a run, and names of the maximum length. Defence: evidence of a tenant's
/// object is limited in size, and a write that only accelerates something may fail.
///
/// 1. The run heals; evidence of everything deleted is kept, in 32 KiB each.
/// 2. A source that cannot be annotated is not nudged, and not tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_heals_objects_with_full_annotations() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        nudge: true,
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let long = stuck_with_long_names(&stage).await;
    fill_all::<VolumeSnapshot>(&stage, 0).await;
    fill_all::<ReplicationSource>(&stage, 0).await;
    fill_all::<PersistentVolumeClaim>(&stage, THEIRS).await;
    fill_all::<Pod>(&stage, 0).await;
    fill_all::<Lease>(&stage, 0).await;
    // A ReplicaSet inherits the annotations of its Deployment, and gets additional ones.
    fill_all::<Deployment>(&stage, THEIRS).await;
    let contents: Api<VolumeSnapshotContent> = Api::all(stage.testbed.client());
    for content in stage.list::<VolumeSnapshotContent>().await {
        fill(&contents, &content, THEIRS).await;
    }

    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    stage.pending_are_bound().await;
    let deleted = stage.destroyed().await;
    assert!(deleted.contains(&long.uid().unwrap()), "{deleted:?}");
    for uid in &deleted {
        let kept = status.evidence.iter().find(|kept| kept.object.uid == **uid);
        assert!(kept.unwrap().content.len() <= 32 * 1024);
    }
    stage.move_deadline(Timestamp::now()).await;
    stage.released().await;
    let refused = refused(&stage.writes().await);
    assert!(
        !refused.is_empty() && refused.values().all(|count| *count == 1),
        "{refused:?}"
    );
}

/// The only Remediation, and its size as JSON.
async fn run_of(stage: &Stage) -> (Remediation, usize) {
    let runs = stage.list::<Remediation>().await;
    assert_eq!(runs.len(), 1);
    let size = serde_json::to_vec(&runs[0]).unwrap().len();
    (runs[0].clone(), size)
}

fn step(
    status: &RemediationStatus,
    name: StepName,
) -> Option<&locksmith::api::remediation::StepRecord> {
    status.steps.iter().find(|record| record.step == name)
}

/// Attack: a content with a stuck deletion and full annotations, so that it cannot be annotated. Defence: this is tried for
/// some seconds with backoff, and the step ends without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn stuck_deletion_that_cannot_be_annotated_blocks_nothing() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let uid = &stage.jam.stuck_snapshots[0].uid;
    let contents: Api<VolumeSnapshotContent> = Api::all(stage.testbed.client());
    let all = stage.list::<VolumeSnapshotContent>().await;
    let of_it = |content: &&VolumeSnapshotContent| {
        content.spec.volume_snapshot_ref.uid.as_ref() == Some(uid)
    };
    let content = all.iter().find(of_it).unwrap().name_any();
    let finalizers = |change: fn(&mut Vec<String>)| {
        let (contents, content) = (contents.clone(), content.clone());
        async move {
            let live = contents.get(&content).await.unwrap();
            let mut finalizers = live.finalizers().to_vec();
            change(&mut finalizers);
            let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
            contents
                .patch(&content, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
    };
    finalizers(|all| all.push("test.locksmith.dev/keep".to_owned())).await;
    stage.fire(&daemon).await;
    stage
        .until::<VolumeSnapshotContent>("the content to be deleted", |all| {
            all.iter()
                .any(|one| one.name_any() == content && one.metadata.deletion_timestamp.is_some())
        })
        .await;
    // Until the controllers that delete it add nothing more; annotations that they remove later make no room.
    loop {
        let live = contents.get(&content).await.unwrap();
        let kept = live.annotations().iter();
        let kept = kept.filter(|(key, _)| *key != BEING_CREATED);
        let known: usize = kept.map(|(key, value)| key.len() + value.len()).sum();
        let filler = "x".repeat(ANNOTATIONS - known - FILLER.len());
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": live.resource_version(),
            "annotations": {FILLER: filler, BEING_CREATED: null},
        }}));
        let params = PatchParams::default();
        if contents.patch(&content, &params, &patch).await.is_ok() {
            break;
        }
    }
    let verified = |status: &RemediationStatus| {
        step(status, StepName::VerifyProvisioning).is_some_and(|it| it.finished_at.is_some())
    };
    let status = stage.run_until("the claims to be verified", verified).await;
    let verify = step(&status, StepName::VerifyProvisioning).unwrap();
    assert_eq!(verify.phase, StepPhase::Succeeded, "{verify:#?}");
    assert!(
        verify
            .skipped
            .iter()
            .any(|left| *left.object.name == *content),
        "{verify:#?}"
    );
    let took = verify
        .finished_at
        .unwrap()
        .duration_since(verify.started_at);
    assert!(took.as_secs() < 60, "{took:?}");
    let room = Patch::Merge(json!({"metadata": {"annotations": {FILLER: null}}}));
    let params = PatchParams::default();
    contents.patch(&content, &params, &room).await.unwrap();
    finalizers(|all| all.retain(|one| one != "test.locksmith.dev/keep")).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let refused = refused(&stage.writes().await);
    let touches = refused[&("volumesnapshotcontents".to_owned(), content)];
    assert!((1..=8).contains(&touches), "{refused:?}");
}

/// A provisioner whose pod template has annotations of 256 KiB: the API server refuses the one that restarts it. The run
/// fails with the API server's message, and its sources are released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn refused_restart_fails_with_its_reason() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        within: "20s",
        steps: "suspendSources, restartProvisioner, verifyProvisioning, resumeSources",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let provisioner = stage
        .list::<Deployment>()
        .await
        .into_iter()
        .find(|one| one.name_any().contains("provisioner"))
        .unwrap();
    let api = stage.api::<Deployment>(&provisioner.namespace().unwrap());
    let filler = "x".repeat(ANNOTATIONS - FILLER.len() - RESTART_ANNOTATION.len());
    let template = json!({"metadata": {"annotations": {FILLER: filler}}});
    let patch = Patch::Merge(json!({"spec": {"template": template, "paused": true}}));
    api.patch(&provisioner.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Failed, "{status:#?}");
    assert!(
        status.message.contains("failed to start a rollout") && status.message.contains("Too long"),
        "{}",
        status.message
    );
    let refused = refused(&stage.writes().await);
    let tried = refused[&("deployments".to_owned(), provisioner.name_any())];
    assert!((1..=8).contains(&tried), "{refused:?}");
    stage.released().await;
}

/// Adds labels to a Remediation until etcd refuses more.
async fn fill_to_the_brim(stage: &Stage, name: &str) {
    let api = stage.api::<Remediation>(NAMESPACE);
    let run = api.get(name).await.unwrap();
    fill(&api, &run, 0).await;
    let (mut at, mut refusal) = (0_usize, None);
    // Long ones first, then single short ones.
    for (mut batch, padding) in [(1024, 55), (16, 0)] {
        while batch > 0 {
            let labels = (at..at + batch).map(|at| {
                let padding = "x".repeat(padding);
                (format!("e.x/{padding}{at}"), Value::from(padding))
            });
            let labels: serde_json::Map<_, _> = labels.collect();
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            match api.patch(name, &PatchParams::default(), &patch).await {
                Ok(_) => at += batch,
                Err(error) => {
                    refusal = Some(error.to_string());
                    batch /= 2;
                }
            }
        }
    }
    let (_, size) = run_of(stage).await;
    println!("{size} bytes with {at} labels, then: {refusal:?}");
    assert!(size > 1_000_000, "{size}");
}

async fn fire(daemon: &Daemon, alertname: &str) {
    let (code, answer) = daemon.fire(alertname, &[("driver", DRIVER)]).await;
    assert_eq!(code, 202, "{answer}");
}

/// Attack: a Remediation that is as large as etcd permits. Defence: aborting it removes its labels and annotations, and the
/// next alert gets a run of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn full_run_can_be_aborted() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    fill_to_the_brim(&stage, &name).await;
    let aborted = locksmith(stage.testbed.kubeconfig(), &["abort", &name, "--yes"]).await;
    assert!(aborted.status.success(), "{}", said(&aborted));
    assert_eq!(stage.finished().await.phase, Phase::Aborted);
    // As by Alertmanager: the watch may not show yet that the run has ended.
    let repeated = async {
        loop {
            fire(&daemon, "LocksmithSourceOrphaned").await;
            tokio::time::sleep(POLL).await;
        }
    };
    let another = stage.until::<Remediation>("a run of its own", |runs| runs.len() == 2);
    tokio::select! {
        () = repeated => {}
        _ = another => {}
    }
}

/// Attack: the same, before any status is recorded. Defence: the run removes its own labels and annotations, and continues.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn full_run_makes_room_and_continues() {
    let stage = Stage::jammed().await;
    let alert = |at: usize| {
        json!({
            "alertname": "a".repeat(256), "fingerprint": format!("{at:0>64}"),
            "startsAt": "2026-11-01T02:00:00.123456789Z",
        })
    };
    let alerts: Vec<_> = (0..50).map(alert).collect();
    let spec =
        json!({"playbook": "csi-operation-locks", "driver": DRIVER, "trigger": {"alerts": alerts}});
    let run: Remediation = named(json!({"name": "full"}), json!({"spec": spec}));
    let api = stage.api::<Remediation>(NAMESPACE);
    api.create(&PostParams::default(), &run).await.unwrap();
    fill_to_the_brim(&stage, "full").await;

    let daemon = stage.daemon(&Settings::default()).await;
    fire(&daemon, "LocksmithOperationLocked").await;
    let healed = stage.finished().await;
    assert_eq!(healed.phase, Phase::Succeeded, "{healed:#?}");
    assert_eq!(stage.list::<Remediation>().await.len(), 1);
}

/// The largest plan that its lint permits, and the largest record of a run: etcd accepts both, beside annotations of 256
/// KiB.
#[tokio::test]
#[ignore = "needs a real API server: ./tests/run"]
async fn largest_hold_and_record_are_accepted() {
    let testbed = Testbed::start(Options {
        controllers: false,
        crds: vec![Remediation::crd(), SnapshotHold::crd()],
        ..Options::default()
    })
    .await;
    let (client, namespace) = (testbed.client(), testbed.namespace("limits").await);
    let created = PostParams::default();

    let place = format!("{}/{}", "n".repeat(63), "s".repeat(241));
    let each = json!({uuid(0): place}).to_string().len() - 1;
    let sources: serde_json::Map<_, _> = (0..RECORD_BYTES / each)
        .map(|at| (uuid(at), Value::from(&*place)))
        .collect();
    let spec = json!({"until": "2030-01-01T00:00:00Z", "sources": sources});
    let holds: Api<SnapshotHold> = Api::namespaced(client.clone(), &namespace);
    let hold: SnapshotHold = named(json!({"name": "hold"}), json!({"spec": spec}));
    holds.create(&created, &hold).await.unwrap();

    let runs: Api<Remediation> = Api::namespaced(client, &namespace);
    let spec = json!({"playbook": "csi-operation-locks", "driver": DRIVER});
    let run: Remediation = named(json!({"name": "run"}), json!({"spec": spec}));
    let run = runs.create(&created, &run).await.unwrap();
    fill(&runs, &run, 0).await;
    let mut run = runs.get("run").await.unwrap();
    let evidence = json!({
        "object": {"kind": "Pod", "namespace": "n", "name": "p", "uid": "u"},
        "resourceVersion": "1", "content": "x".repeat(RECORD_BYTES),
    });
    run.status = serde_json::from_value(json!({"evidence": [evidence]})).unwrap();
    let size = serde_json::to_vec(&run).unwrap().len();
    runs.replace_status("run", &created, &run).await.unwrap();
    println!(
        "{} sources in {} bytes; a run of {size} bytes",
        RECORD_BYTES / each,
        each * (RECORD_BYTES / each)
    );
}

fn uuid(at: usize) -> String {
    format!("00000000-0000-4000-8000-{at:0>12}")
}
