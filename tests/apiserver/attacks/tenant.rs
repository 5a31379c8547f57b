//! A tenant, who may write anything in one namespace and nothing elsewhere, against the program.
//!
//! `deploy/docs/threat-model.md` names these tests, and unit tests whose doc comment starts with the attack.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::scenario;
use locksmith::demo::world::{IMMEDIATE_CLASS, SNAPSHOT_CLASS, Timings, World, WorldConfig};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::stage::{DRIVER, NAMESPACE, PATIENCE, Settings, Stage, USER, named};
use crate::support::tenant::{TENANT, Tenant, refusal};
use crate::testbed::{PooledTestbed, Testbed};

/// More than one run may delete.
const MANY: usize = 60;

fn status_of<T: std::fmt::Debug>(refused: kube::Result<T>) -> u16 {
    match refused {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// A cluster with Rook and VolSync, without findings.
async fn quiet() -> (PooledTestbed, World) {
    let testbed = Box::pin(PooledTestbed::take()).await;
    let namespaces: Api<Namespace> = Api::all(testbed.client());
    let namespace = named(json!({"name": NAMESPACE}), json!({}));
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let world = World::start(testbed.client(), WorldConfig::new(Timings::fast()))
        .await
        .unwrap();
    world.install().await.unwrap();
    (testbed, world)
}

/// Attack: approve a plan, start a run, stop all runs, or report a state of another tenant's claim, or of one's own
/// snapshot, that only its controller knows. Defence: RBAC, which gives an editor no access to Remediations, and the API
/// server's own check that an Event is in the namespace of its object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn tenant_cannot_write_decisive_objects() {
    let (testbed, _world) = quiet().await;
    let tenant = Tenant::of(&testbed).await;
    let (create, patch) = (PostParams::default(), PatchParams::default());
    let run = named::<Remediation>(
        json!({"name": "forged"}),
        json!({"spec": {"playbook": "csi-operation-locks", "driver": DRIVER, "trigger": {}}}),
    );
    let ours: Api<Remediation> = Api::namespaced(testbed.client(), NAMESPACE);
    ours.create(&create, &run).await.unwrap();
    let theirs: Api<Remediation> = Api::namespaced(tenant.0.clone(), NAMESPACE);
    let approve = json!({"spec": {"approval": {"decision": "Approved", "plan": "x"}}});
    let approve = Patch::Merge(approve);
    let approved = theirs.patch("forged", &patch, &approve);
    assert_eq!(status_of(approved.await), 403);
    assert_eq!(status_of(theirs.create(&create, &run).await), 403);
    assert_eq!(
        status_of(tenant.api::<Remediation>().create(&create, &run).await),
        403
    );

    let namespaces: Api<Namespace> = Api::all(tenant.0.clone());
    let stop = Patch::Merge(json!({"metadata": {"annotations": {"locksmith.dev/stop": ""}}}));
    for namespace in [NAMESPACE, TENANT] {
        let stopped = namespaces.patch(namespace, &patch, &stop);
        assert_eq!(status_of(stopped.await), 403);
    }

    let elsewhere = refusal(DRIVER, "pvc-x", ("media", "sonarr", "x"));
    assert_eq!(
        status_of(tenant.api::<Event>().create(&create, &elsewhere).await),
        422
    );
    let there: Api<Event> = Api::namespaced(tenant.0.clone(), NAMESPACE);
    assert_eq!(status_of(there.create(&create, &elsewhere).await), 403);

    let locked = json!({"readyToUse": false, "error": {"message": "an operation with the given Volume ID x already exists"}});
    let snapshot: VolumeSnapshot = tenant
        .create(
            json!({"name": "own"}),
            json!({"spec": {"source": {"persistentVolumeClaimName": "c"}}, "status": locked}),
        )
        .await;
    assert!(snapshot.status.is_none(), "{snapshot:?}");
    let forged = json!({"status": locked});
    let forged = tenant
        .api::<VolumeSnapshot>()
        .patch_status("own", &patch, &Patch::Merge(&forged))
        .await;
    assert_eq!(status_of(forged), 403);
}

/// Attack: a claim that can never be Bound, and Events that report a lock on it, on another tenant's claim, and for drivers
/// that do not exist; then the resulting alerts fire. Defence: Events count only for the claim they are on, drivers are
/// those that classes name, and the gate `confirmed` requires a report by the driver itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn forged_events_start_no_step() {
    let (testbed, _world) = quiet().await;
    let tenant = Tenant::of(&testbed).await;
    let all = kube::api::ListParams::default();
    let victim = named::<PersistentVolumeClaim>(
        json!({"name": "victim"}),
        json!({"spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": IMMEDIATE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "late"},
        }}),
    );
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(testbed.client(), NAMESPACE);
    let victim = claims
        .create(&PostParams::default(), &victim)
        .await
        .unwrap()
        .uid()
        .unwrap();
    let mine = tenant.hopeless_claim("mine").await.uid().unwrap();
    let at = (TENANT, "mine", &*mine);
    let events = [
        refusal(DRIVER, &format!("pvc-{mine}"), at),
        refusal("made-up.rbd.csi.ceph.com", &format!("pvc-{mine}"), at),
        refusal(DRIVER, &format!("pvc-{victim}"), at),
        refusal(
            DRIVER,
            &format!("pvc-{victim}"),
            (TENANT, "victim", &victim),
        ),
    ];
    for event in events {
        tenant
            .api::<Event>()
            .create(&PostParams::default(), &event)
            .await
            .unwrap();
    }
    let daemon = daemon(&testbed).await;
    let stuck = |samples: &BTreeMap<String, f64>, reason: &str| {
        let series =
            format!("locksmith_stuck_operations{{finding=\"pending_claim\",reason=\"{reason}\"");
        let found = samples.keys().filter(|name| name.starts_with(&series));
        found.cloned().collect::<Vec<_>>()
    };
    daemon
        .until("the forged lock to be found", |samples| {
            stuck(samples, "operation_lock").len() == 1
                && !stuck(samples, "snapshot_missing").is_empty()
        })
        .await;
    let samples = daemon.metrics().await;
    let locked = stuck(&samples, "operation_lock").concat();
    assert!(locked.contains(TENANT), "{locked}");
    let made_up = samples.keys().filter(|name| name.contains("made-up"));
    assert_eq!(made_up.collect::<Vec<_>>(), Vec::<&String>::new());

    for number in 0..20 {
        let driver = format!("made-up-{number}.rbd.csi.ceph.com");
        let (code, answer) = daemon
            .fire("LocksmithOperationLocked", &[("driver", &driver)])
            .await;
        assert_eq!(code, 202, "{answer}");
    }
    let (code, answer) = daemon
        .fire("LocksmithRestoreStuck", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    let runs: Api<Remediation> = Api::all(testbed.client());
    let judged = |run: &Remediation| {
        run.status
            .as_ref()
            .is_some_and(|status| !status.gates.is_empty())
    };
    let known = scenario::until(runs.clone(), "a run to be judged", PATIENCE, |runs| {
        runs.iter().any(|run| judged(run))
    });
    let known = known.await.unwrap();
    assert_eq!(known.len(), 1);
    let status = known[0].status.as_ref().unwrap();
    assert_eq!(status.phase, Phase::Pending);
    let gate = status
        .gates
        .iter()
        .find(|gate| gate.gate == "confirmed")
        .unwrap();
    assert!(
        !gate.open && gate.reason.starts_with("only claims and Events"),
        "{gate:?}"
    );
    assert_eq!(runs.list(&all).await.unwrap().items.len(), 1);
    let written = testbed.audit().events();
    let elsewhere: Vec<_> = written
        .iter()
        .filter(|event| event.user == USER && event.is_write())
        .filter(|event| !matches!(&*event.resource, "remediations" | "leases" | "events"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// The program in a cluster without a jam.
async fn daemon(testbed: &Testbed) -> Daemon {
    let binding = named::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>(
        json!({"name": USER}),
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }),
    );
    let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(testbed.client());
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let user = testbed.user(USER, None).await;
    let daemon = Daemon::start(user.kubeconfig(), &Settings::default().yaml()).await;
    let leads = |samples: &BTreeMap<String, f64>| {
        samples
            .get("locksmith_leader")
            .is_some_and(|leads| *leads > 0.5)
    };
    daemon.until("it to lead", leads).await;
    daemon
}

/// Attack: more failed snapshots than a run may delete, with VolSync's label and an owner. Defence: a snapshot counts as
/// VolSync's only if its name is the one that the owning source uses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn forged_snapshots_do_not_affect_a_run() {
    let stage = Stage::jammed().await;
    let tenant = Tenant::of(&stage.testbed).await;
    let owner: ReplicationSource = tenant
        .create(
            json!({"name": "owner"}),
            json!({"spec": {"sourcePVC": "none", "external": {}}}),
        )
        .await;
    let references = json!([{
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource", "name": "owner",
        "uid": owner.uid(), "controller": true,
    }]);
    for number in 0..MANY {
        let metadata = json!({
            "name": format!("volsync-forged-{number}-src"),
            "labels": {"app.kubernetes.io/created-by": "volsync"},
            "ownerReferences": references,
        });
        let spec = json!({"source": {"persistentVolumeClaimName": "none"}, "volumeSnapshotClassName": SNAPSHOT_CLASS});
        let _: VolumeSnapshot = tenant.create(metadata, json!({"spec": spec})).await;
    }
    let daemon = stage.daemon(&Settings::default()).await;
    let of_tenant = format!("namespace=\"{TENANT}\"");
    let forged =
        |name: &str| name.contains("finding=\"failed_snapshot\"") && name.contains(&of_tenant);
    daemon
        .until("the forged snapshots to be found", |samples| {
            let found = samples.iter().filter(|(name, _)| forged(name));
            found.map(|(_, count)| count).sum::<f64>() > 50.0
        })
        .await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let of_tenant = |namespace: &str| namespace == TENANT;
    assert!(
        !status
            .holds
            .iter()
            .any(|hold| of_tenant(&hold.object.namespace)),
        "{:#?}",
        status.holds
    );
    let stuck: BTreeSet<_> = stage
        .jam
        .stuck_snapshots
        .iter()
        .map(|stuck| stuck.uid.clone())
        .collect();
    assert_eq!(stage.destroyed().await, stuck);
    let mut theirs = stage.writes_elsewhere().await;
    theirs.retain(|event| of_tenant(&event.namespace));
    assert!(theirs.is_empty(), "{theirs:#?}");
}

/// Attack: a Lease and an Event with the last time that Go can parse. The library that this program reads times with cannot, so that
/// lists of these kinds would fail as a whole. Defence: an object that cannot be parsed is left out, and hides no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn times_that_cannot_be_parsed_hide_nothing() {
    let (testbed, world) = quiet().await;
    // Its actors read times with the same library.
    drop(world);
    let tenant = Tenant::of(&testbed).await;
    let mine = tenant.hopeless_claim("mine").await.uid().unwrap();
    create_last_times(&tenant, "early", &mine).await;
    let daemon = daemon(&testbed).await;
    let is_complete =
        |samples: &BTreeMap<String, f64>| samples["locksmith_observation_complete"] > 0.5;
    daemon.until("all kinds to be listed", is_complete).await;
    create_last_times(&tenant, "late", &mine).await;
    // Events arrive in order.
    let key = format!("pvc-{mine}");
    tenant
        .api::<Event>()
        .create(
            &PostParams::default(),
            &refusal(DRIVER, &key, (TENANT, "mine", &mine)),
        )
        .await
        .unwrap();
    daemon
        .until("the Event after them to be found", |samples| {
            let mut names = samples.keys();
            names.any(|name| name.contains("reason=\"operation_lock\"") && name.contains(TENANT))
        })
        .await;
    let samples = daemon.metrics().await;
    assert!(is_complete(&samples));
    let failed: Vec<_> = samples
        .iter()
        .filter(|(name, count)| name.starts_with("locksmith_watch_errors_total") && **count > 0.0)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Creates a Lease, and an Event on the claim `mine` with this uid.
async fn create_last_times(tenant: &Tenant, name: &str, uid: &str) {
    let times = [
        (
            ApiResource::erase::<Lease>(&()),
            json!({"spec": {"renewTime": "9999-12-31T23:59:59.000000Z"}}),
        ),
        (
            ApiResource::erase::<Event>(&()),
            json!({
                "involvedObject": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": TENANT, "name": "mine", "uid": uid,
                },
                "reason": "ProvisioningFailed",
                "lastTimestamp": "9999-12-31T23:59:59Z",
            }),
        ),
    ];
    for (resource, fields) in times {
        let api: Api<DynamicObject> = Api::namespaced_with(tenant.0.clone(), TENANT, &resource);
        let object = DynamicObject::new(name, &resource).data(fields);
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

/// Attack: names and messages with markup, line ends and control sequences, for the page, the log and the terminal of a
/// reader. Defence: the API server refuses such names; messages are escaped wherever they are shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn tenant_text_is_escaped() {
    const HOSTILE: &str = "<script>alert(1)</script>\u{1b}[2J\r\n{\"level\":\"INFO\",\"message\":\"forged\"}\u{9b}2J\u{202e}";
    let (testbed, _world) = quiet().await;
    let tenant = Tenant::of(&testbed).await;
    let mine = tenant.hopeless_claim("mine").await.uid().unwrap();
    let mut event = refusal(DRIVER, &format!("pvc-{mine}"), (TENANT, "mine", &mine));
    event.message = Some(format!("{HOSTILE}: {}", event.message.unwrap()));
    tenant
        .api::<Event>()
        .create(&PostParams::default(), &event)
        .await
        .unwrap();
    let daemon = daemon(&testbed).await;
    daemon
        .until("the forged lock to be found", |samples| {
            samples
                .keys()
                .any(|name| name.contains("reason=\"operation_lock\"") && name.contains(TENANT))
        })
        .await;
    let (_, page) = daemon.get("/").await;
    assert!(
        page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"),
        "{page}"
    );
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(!metrics.contains("forged"), "{metrics}");
    let (_, status) = daemon.get("/api/v1/findings").await;
    assert!(
        serde_json::from_str::<Value>(&status).is_ok() && !status.contains('\u{1b}'),
        "{status}"
    );
    daemon
        .fire("LocksmithOperationLocked", &[("driver", DRIVER)])
        .await;
    for line in daemon.log_text().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_ne!(line["message"], "forged");
    }
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&config, Settings::default().yaml()).unwrap();
    for look in ["wide", "text"] {
        let shown = std::process::Command::new(env!("CARGO_BIN_EXE_locksmith"))
            .args(["status", "-A", "-o", look, "--kubeconfig"])
            .arg(testbed.kubeconfig())
            .arg("--config")
            .arg(config.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("mine"), "{shown}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(steers), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with('{')), "{shown}");
    }
}
