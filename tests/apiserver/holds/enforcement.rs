//! The hold on a real API server, and its effect on a backup that starts meanwhile.
//!
//! Asserted:
//! 1. held sources get no snapshot, their condition names the holder, and their backup runs after the release;
//! 2. no ReplicationSource and no claim is written, and changes that people make to them meanwhile are kept;
//! 3. the API server ends a hold at its deadline without any locksmith process;
//! 4. without the policy, or with an outdated or edited one, the gate names the reason and nothing is written;
//! 5. if the policy is deleted during a run, nothing is deleted;
//! 6. a planned hold is created, proven, listed and released at the command line, and a run neither counts nor releases it.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use locksmith::api::hold::{
    NUDGE_ANNOTATION, POLICY_NAME, POLICY_VERSION_ANNOTATION, SnapshotHold,
};
use locksmith::api::remediation::{Phase, StepPhase};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::{ReplicationSource, temporary_name};
use locksmith::api::{SkipReason, Skipped};
use locksmith::cluster::hold::prove;
use locksmith::holds::policy::Probe;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::command::{locksmith, said};
use crate::support::stage::{NAMESPACE, PATIENCE, Settings, Setup, Stage};

/// A running app whose backup starts while it is held.
const APP: (&str, &str) = ("media", "bazarr");

async fn start_backup(stage: &Stage) {
    let trigger = json!({"spec": {"trigger": {"manual": "now"}}});
    let (namespace, name) = APP;
    stage
        .patch::<ReplicationSource>(namespace, name, &trigger)
        .await;
}

/// Waits until the condition of the app's source reports the hold.
async fn refused(stage: &Stage) -> String {
    let held = |source: &ReplicationSource| {
        let status = source.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.into_iter();
        conditions.find(|one| one.message.contains("held by volsync-locksmith for"))
    };
    let sources = stage
        .until::<ReplicationSource>("the backup to be refused", |all| {
            all.iter()
                .any(|one| one.name_any() == APP.1 && held(one).is_some())
        })
        .await;
    let source = sources.iter().find(|one| one.name_any() == APP.1).unwrap();
    held(source).unwrap().message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn held_sources_get_no_snapshot_and_are_not_written() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        // The test looks at the held sources meanwhile, however slow the machine is.
        settle: "30s",
        // A late proof may be repeated.
        suspend_within: "5m",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    start_backup(&stage).await;
    let message = refused(&stage).await;
    assert!(
        message.contains("for run csi-operation-locks-"),
        "{message}"
    );

    // People and GitOps continue to write.
    let paused = json!({"spec": {"paused": true}});
    stage
        .patch::<ReplicationSource>("media", "plex", &paused)
        .await;
    let note = json!({"metadata": {"annotations": {"example.org/note": "mine"}}});
    stage
        .patch::<PersistentVolumeClaim>(APP.0, APP.1, &note)
        .await;
    let snapshots = stage.api::<VolumeSnapshot>(APP.0);
    let made = snapshots.get_opt(&temporary_name(APP.1)).await.unwrap();
    assert_eq!(made, None, "made in spite of the hold");

    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    let suspended = &status.steps[0];
    assert!(
        suspended.message.contains("proven by dry run"),
        "{suspended:#?}"
    );
    let plex = stage.api::<ReplicationSource>("media").get("plex").await;
    assert_eq!(plex.unwrap().spec.paused, Some(true));
    let claim = stage.api::<PersistentVolumeClaim>(APP.0).get(APP.1).await;
    assert!(
        claim
            .unwrap()
            .annotations()
            .contains_key("example.org/note")
    );
    for event in stage.writes().await {
        let theirs = ["replicationsources", "persistentvolumeclaims"];
        assert!(!theirs.contains(&&*event.resource), "{event:#?}");
    }

    // A backup that was requested during the hold runs after it.
    stage
        .until::<ReplicationSource>("the backup asked for to be made", |sources| {
            let served = |source: &ReplicationSource| {
                let status = source.status.as_ref();
                status.and_then(|status| status.last_manual_sync.as_deref()) == Some("now")
            };
            sources
                .iter()
                .any(|source| source.name_any() == APP.1 && served(source))
        })
        .await;
}

/// Waits until a dry-run create is refused or accepted, as expected.
async fn is_in_force(stage: &Stage, expected: bool) {
    let hold = stage.list::<SnapshotHold>().await.remove(0);
    let probe = Probe {
        namespace: NAMESPACE.into(),
        source: hold.spec.sources.keys().next().cloned(),
        class: None,
    };
    let wanted = async {
        loop {
            let proof = prove(&stage.testbed.client(), &probe).await.unwrap();
            if proof.refuted().is_none() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let limit = tokio::time::timeout(PATIENCE, wanted);
    limit.await.expect("the API server to change its mind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn hold_ends_at_its_deadline_without_a_daemon() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        settle: "1h",
        deadline: "2h",
        ..Settings::default()
    };
    let mut daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    daemon.kill();
    is_in_force(&stage, true).await;
    start_backup(&stage).await;
    refused(&stage).await;
    // On a slow machine, a proof that the hold is still in force takes seconds.
    let deadline = Timestamp::now() + SignedDuration::from_secs(30);
    stage.move_deadline(deadline).await;
    is_in_force(&stage, true).await;
    is_in_force(&stage, false).await;
    // Creation times are in whole seconds.
    assert!(Timestamp::now() >= deadline - SignedDuration::from_secs(1));
    stage
        .until::<VolumeSnapshot>("the held backup's snapshot", |all| {
            all.iter()
                .any(|one| one.name_any() == temporary_name(APP.1))
        })
        .await;
}

#[rstest]
#[case::policy_missing("there is no ValidatingAdmissionPolicy", |p: &mut Value| *p = Value::Null)]
#[case::older("is version 0", |p: &mut Value| p["metadata"]["annotations"][POLICY_VERSION_ANNOTATION] = json!("0"))]
#[case::matches_nothing(
    "spec.matchConstraints.resourceRules",
    |p: &mut Value| p["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = json!(["nothings"])
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn missing_or_edited_policy_closes_the_gate(
    #[case] why: &str,
    #[case] change: fn(&mut Value),
) {
    let stage = Stage::jammed_with(Setup {
        policy: false,
        ..Setup::default()
    })
    .await;
    let (policy, binding) = locksmith::holds::policy::objects(NAMESPACE).unwrap();
    let mut policy = json!(policy);
    change(&mut policy);
    let params = PostParams::default();
    if !policy.is_null() {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(stage.testbed.client());
        let policy = serde_json::from_value(policy).unwrap();
        policies.create(&params, &policy).await.unwrap();
    }
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(stage.testbed.client());
    bindings.create(&params, &binding).await.unwrap();

    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage
        .run_until("the gate to say why", |status| {
            let mut gates = status.gates.iter();
            gates.any(|gate| gate.gate == "holdPolicy" && !gate.open && gate.reason.contains(why))
        })
        .await;
    assert_eq!((status.phase, status.started_at), (Phase::Pending, None));
    assert!(
        status
            .message
            .contains("locksmith crd -n volsync-locksmith | kubectl apply"),
        "{status:#?}"
    );
    let writes = stage.writes_elsewhere().await;
    assert!(writes.is_empty(), "{writes:#?}");
    assert_eq!(stage.list::<SnapshotHold>().await, []);
    assert!(stage.failed_snapshots_are_untouched().await);
}

/// The daemon observes the released policy; the API server is about to stop enforcing it. The run waits for the policy,
/// and gives up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_deletes_nothing_after_its_policy_is_deleted() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        // The policy is deleted before the hold can be proven, and the proof would come before the run gives up.
        settle: "30s",
        suspend_within: "5m",
        gates: ", giveUpAfter: 2m",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(stage.testbed.client());
    let params = DeleteParams::default();
    bindings.delete(POLICY_NAME, &params).await.unwrap();
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Failed, "{}", daemon.log_text());
    assert!(
        status.message.contains("suspendSources"),
        "{}",
        status.message
    );
    assert_eq!(status.steps[0].phase, StepPhase::Failed);
    assert!(stage.failed_snapshots_are_untouched().await);
    assert!(stage.restarts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn planned_hold_is_created_and_released_by_a_person() {
    let stage = Stage::jammed().await;
    let kubeconfig = stage.testbed.kubeconfig();
    let source = format!("{}/{}", APP.0, APP.1);
    let args = [
        "hold",
        &source,
        "--for",
        "1h",
        "--reason",
        "NAS migration",
        "--name",
        "nas",
    ];
    let held = locksmith(kubeconfig, &args).await;
    assert_eq!(held.status.code(), Some(0), "{}", said(&held));
    assert!(
        said(&held).contains("1 source held until"),
        "{}",
        said(&held)
    );
    start_backup(&stage).await;
    let message = refused(&stage).await;
    assert!(message.contains("for admin until"), "{message}");

    let listed = locksmith(kubeconfig, &["status"]).await;
    for wanted in ["Held (snapshots refused)", APP.1, "NAS migration"] {
        assert!(said(&listed).contains(wanted), "{}", said(&listed));
    }

    // A run holds the source, too, and ends only its own hold.
    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    stage.forget_run().await;
    stage
        .until::<SnapshotHold>("the run's hold to be gone", |all| all.len() == 1)
        .await;
    assert_eq!(stage.held().await, [APP.1]);

    let refused = locksmith(kubeconfig, &["release", "nobody/knows"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let released = locksmith(kubeconfig, &["release", "nas"]).await;
    assert_eq!(released.status.code(), Some(0), "{}", said(&released));
    assert_eq!(stage.list::<SnapshotHold>().await, []);
}

/// A hold created through one API server is soon enforced by the other, and ends there as soon. The limits are for a slow
/// machine; the measured times are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn two_api_servers_enforce_the_same_hold() {
    let stage = Stage::jammed().await;
    let second = stage.testbed.second_apiserver().await;
    let all = async |what: &str, enforced: bool, limit: Duration| {
        let begun = std::time::Instant::now();
        let sources = stage.api::<ReplicationSource>(APP.0);
        let source = sources.get(APP.1).await.unwrap();
        let probe = Probe {
            namespace: NAMESPACE.into(),
            source: source.uid().map(|uid| uid.as_str().into()),
            class: None,
        };
        for client in [stage.testbed.client(), second.client()] {
            loop {
                let proof = prove(&client, &probe).await.unwrap();
                if proof.refuted().is_none() == enforced {
                    break;
                }
                assert!(begun.elapsed() < limit, "{what}: {proof:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        println!("{what} by both after {:?}", begun.elapsed());
    };
    let succeeds = async |kubeconfig: &Path, args: &[&str]| {
        let output = locksmith(kubeconfig, args).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    let source = format!("{}/{}", APP.0, APP.1);
    let hold = ["hold", &source, "--for", "1h"];
    succeeds(stage.testbed.kubeconfig(), &hold).await;
    // A server that has just started discovers param kinds with a delay.
    all("held at first", true, Duration::from_secs(60)).await;
    let said_to = async |args: &[&str]| succeeds(second.kubeconfig(), args).await;
    for _ in 0..3 {
        said_to(&["release", "--all"]).await;
        all("released", false, Duration::from_secs(30)).await;
        said_to(&hold).await;
        all("held", true, Duration::from_secs(30)).await;
    }
}

/// VolSync retries by itself within 17 minutes, and immediately when its source changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn released_source_is_nudged_if_configured() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        nudge: true,
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    let held = stage.held_after_run();
    stage.held_until(&held).await;
    assert!(!held.is_empty() && held.len() < stage.jam.sources.len());
    let nudged = |source: &ReplicationSource| source.annotations().contains_key(NUDGE_ANNOTATION);
    let sources = stage
        .until::<ReplicationSource>("what is released to be nudged", |sources| {
            let mut released = sources.iter().filter(|it| !held.contains(&it.name_any()));
            released.all(|source| nudged(source))
        })
        .await;
    let too_early = sources
        .iter()
        .find(|source| held.contains(&source.name_any()) && nudged(source));
    assert_eq!(too_early.map(|source| source.name_any()), None);
}

/// A snapshot without a source, of a held class, whichever tool takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn class_hold_refuses_every_snapshot_of_the_class() {
    let stage = Stage::jammed().await;
    let kubeconfig = stage.testbed.kubeconfig();
    let args = ["hold", "--class", "csi-ceph-blockpool", "--for", "1h"];
    let held = locksmith(kubeconfig, &args).await;
    assert_eq!(held.status.code(), Some(0), "{}", said(&held));
    let snapshots = stage.api::<VolumeSnapshot>(APP.0);
    let of_class = |name: &str, class: Option<&str>| -> VolumeSnapshot {
        let source = json!({"persistentVolumeClaimName": APP.1});
        let spec = json!({"source": source, "volumeSnapshotClassName": class});
        crate::support::stage::named(json!({"name": name}), json!({"spec": spec}))
    };
    let params = PostParams::default();
    let refused = of_class("by-velero", Some("csi-ceph-blockpool"));
    let refused = snapshots.create(&params, &refused).await.unwrap_err();
    assert!(
        refused.to_string().contains("held by volsync-locksmith"),
        "{refused}"
    );
    let other = of_class("another", Some("another-class"));
    snapshots.create(&params, &other).await.unwrap();
}

/// A second run with the same name cannot exist, but a person's hold with that name can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn source_that_a_person_released_is_not_held_again() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        settle: "15s",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let hold = stage.list::<SnapshotHold>().await.remove(0);
    let place = format!("{}/{}", APP.0, APP.1);
    let mut sources = hold.spec.sources.iter();
    let (uid, _) = sources.find(|(_, of)| **of == place).unwrap();
    let patch = json!({"spec": {"sources": {uid.to_string(): null}}});
    let holds = stage.api::<SnapshotHold>(NAMESPACE);
    let (name, params) = (hold.name_any(), PatchParams::default());
    holds
        .patch(&name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    let mut left = status.steps[0].skipped.iter();
    let released =
        |left: &Skipped| *left.object.name == *APP.1 && left.reason == SkipReason::Released;
    assert!(left.any(released), "{:#?}", status.steps[0]);
}
