//! CustomResourceDefinitions that are missing, are deleted, or are older than the program.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, CustomResourceExt, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::demo::scenario::App;
use locksmith::demo::world::IMMEDIATE_CLASS;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::stage::{DRIVER, NAMESPACE, PATIENCE, Rights, Settings, Setup, Stage, named};
use crate::testbed::{Options, Testbed};

use super::ends_well_or_is_undone;

const SNAPSHOTS: [&str; 3] = [
    "volumesnapshots",
    "volumesnapshotcontents",
    "volumesnapshotclasses",
];
const VOLSYNC: [&str; 2] = ["replicationsources", "replicationdestinations"];

/// Whether exactly these of the optional kinds are reported as absent.
fn absent(samples: &BTreeMap<String, f64>, wanted: &[&str]) -> bool {
    let kinds = SNAPSHOTS.iter().chain(&VOLSYNC);
    kinds.into_iter().all(|kind| {
        let name = format!("locksmith_watch_api_absent{{kind=\"{kind}\"}}");
        let expected = if wanted.contains(kind) { 1.0 } else { 0.0 };
        samples.get(&name) == Some(&expected)
    })
}

/// Number of Pending claims found.
fn pending(samples: &BTreeMap<String, f64>) -> f64 {
    let of_claims = samples.iter().filter(|(name, _)| {
        name.starts_with("locksmith_stuck_operations{finding=\"pending_claim\"")
    });
    of_claims.map(|(_, value)| value).sum()
}

/// A cluster without VolSync, without snapshots, or without both: the metrics report the absent APIs, the observation is
/// complete, pending claims are found, and a run waits and names the reason.
#[rstest]
#[case::no_volsync(&["volsync.backube"], &VOLSYNC)]
#[case::no_snapshots(&["snapshot.storage.k8s.io"], &SNAPSHOTS)]
#[case::neither(&["volsync.backube", "snapshot.storage.k8s.io"], &[VOLSYNC[0], VOLSYNC[1], SNAPSHOTS[0], SNAPSHOTS[1], SNAPSHOTS[2]])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn missing_api_is_reported_as_absent(
    #[case] without: &[&'static str],
    #[case] kinds: &[&str],
) {
    let testbed = Testbed::start(Options {
        controllers: false,
        crds: vec![Remediation::crd(), SnapshotHold::crd()],
        without: without.to_vec(),
    })
    .await;
    let namespaces = Api::all(testbed.client());
    for name in [NAMESPACE, "media"] {
        let namespace = named(json!({"name": name}), json!({}));
        namespaces
            .create(&Default::default(), &namespace)
            .await
            .map(|_: k8s_openapi::api::core::v1::Namespace| ())
            .unwrap();
    }
    let class = StorageClass {
        metadata: ObjectMeta {
            name: Some(IMMEDIATE_CLASS.to_owned()),
            ..ObjectMeta::default()
        },
        provisioner: DRIVER.to_owned(),
        ..StorageClass::default()
    };
    let classes: Api<StorageClass> = Api::all(testbed.client());
    classes.create(&Default::default(), &class).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(testbed.client(), "media");
    let claim = App::new("media", "sonarr").claim();
    claims.create(&Default::default(), &claim).await.unwrap();

    let daemon = Daemon::start(testbed.kubeconfig(), &Settings::default().yaml()).await;
    daemon
        .until("the absent and the pending", |samples| {
            absent(samples, kinds)
                && (pending(samples) - 1.0).abs() < f64::EPSILON
                && samples["locksmith_observation_complete"] > 0.0
                && samples["locksmith_leader"] > 0.0
        })
        .await;
    let (code, answer) = daemon
        .fire("LocksmithOperationLocked", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    let runs: Api<Remediation> = Api::all(testbed.client());
    let said = |run: &Remediation| {
        let status = run.status.clone().unwrap_or_default();
        assert_eq!(status.started_at, None, "{status:#?}");
        !status.message.is_empty()
    };
    locksmith::demo::scenario::until(runs, "the run to say what it waits for", PATIENCE, |runs| {
        runs.first().is_some_and(|run| said(run))
    })
    .await
    .unwrap();
}

/// The definition of ReplicationSource or of VolumeSnapshot is deleted during a run, with all of its objects: the run
/// succeeds or is undone, and the kind is reported as absent until it is installed again.
#[rstest]
#[case::sources("replicationsources.volsync.backube")]
#[case::snapshots("volumesnapshots.snapshot.storage.k8s.io")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_deleted_definition(#[case] name: &str) {
    let stage = Stage::jammed().await;
    // Without snapshots nothing is restored, so the run must not wait long for it.
    let settings = Settings {
        within: "60s",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.testbed.client());
    let mut definition = definitions.get(name).await.unwrap();
    definitions.delete(name, &Default::default()).await.unwrap();
    ends_well_or_is_undone(&stage, &daemon).await;
    let (kind, _) = name.split_once('.').unwrap();
    if kind == SNAPSHOTS[0] {
        // It is removed after its snapshots, whose finalizers block it.
        stage.released().await;
        return;
    }
    stage
        .until::<CustomResourceDefinition>("the definition to be gone", |all| {
            all.iter().all(|one| one.name_any() != name)
        })
        .await;
    daemon
        .until("the kind to be absent", |samples| absent(samples, &[kind]))
        .await;

    definition.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        annotations: definition.metadata.annotations,
        ..ObjectMeta::default()
    };
    definition.status = None;
    stage.testbed.install(vec![definition]).await;
    daemon
        .until("the kind to be seen again", |samples| absent(samples, &[]))
        .await;
    stage.released().await;
}

/// Replaces the served definition by `definition`, and waits until its schema is published with or without the field.
async fn serve(stage: &Stage, definition: &Value, field: &str, there: bool) {
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.testbed.client());
    let name = definition["metadata"]["name"].as_str().unwrap();
    let patch = Patch::Merge(json!({"spec": {"versions": definition["spec"]["versions"]}}));
    definitions
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let published = async {
        loop {
            let schemas = "/openapi/v3/apis/locksmith.dev/v1alpha1";
            let request = axum::http::Request::get(schemas).body(Vec::new()).unwrap();
            let document = stage.testbed.client().request_text(request).await.unwrap();
            if document.contains(&format!("\"{field}\"")) == there {
                return;
            }
            tokio::time::sleep(crate::support::daemon::POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, published).await.unwrap();
}

/// The CRD of an earlier version lacks one field. With exactly the installed rights:
///
/// 1. the daemon logs what is missing at its start;
/// 2. a run does not start: its message names the field and the command that fixes it, and only its status is written;
/// 3. once the CRD is upgraded, the run starts by itself, and heals the jam.
#[rstest]
#[case::of_remediations(
    json!(Remediation::crd()), "status/properties/steps/items/properties", "replacedAt",
    "CRD of Remediation is older than this program and lacks status.steps[].replacedAt"
)]
#[case::of_holds(
    json!(SnapshotHold::crd()), "spec/properties", "heldBy",
    "CRD of SnapshotHold is older than this program and lacks spec.heldBy"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn outdated_crd_blocks_runs_until_upgraded(
    #[case] current: Value,
    #[case] fields: &str,
    #[case] field: &str,
    #[case] lacks: &str,
) {
    let stage = Stage::jammed_with(Setup {
        rights: Rights::Installed("act"),
        ..Setup::default()
    })
    .await;
    let mut older = current.clone();
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{fields}");
    let fields = older.pointer_mut(&path).unwrap().as_object_mut().unwrap();
    fields.remove(field).unwrap();
    serve(&stage, &older, field, false).await;

    let mut daemon = stage.daemon(&Settings::default()).await;
    let names_it = |line: &Value| Some(line.pointer("/reason")?.as_str()?.contains(lacks));
    assert!(
        daemon
            .logged("the CRDs are outdated; no run begins", names_it)
            .await
    );
    stage.fire(&daemon).await;
    let status = stage
        .run_until("the run to say what is missing", |status| {
            status.message.contains(lacks)
        })
        .await;
    assert_eq!((status.phase, status.started_at), (Phase::Pending, None));
    let command = "locksmith crd -n volsync-locksmith | kubectl apply --server-side -f -";
    assert!(status.message.contains(command), "{}", status.message);
    let mut writes = stage.writes().await;
    writes.retain(|event| !matches!(&*event.resource, "remediations" | "leases" | "events"));
    assert!(writes.is_empty(), "{writes:#?}");
    assert!(stage.failed_snapshots_are_untouched().await);

    serve(&stage, &current, field, true).await;
    let healed = stage.finished().await;
    assert_eq!(healed.phase, Phase::Succeeded, "{healed:#?}");
}
