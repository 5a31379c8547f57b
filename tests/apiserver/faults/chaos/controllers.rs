//! Controllers fail to do their part: the snapshot controller, and the cluster that should run a new provisioner.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use locksmith::api::StepName;
use locksmith::api::remediation::{Phase, Remediation, StepPhase};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::demo::world::{Layout, Timings, WorldConfig};
use rstest::rstest;
use serde_json::json;

use crate::support::stage::{DRIVER, Settings, Setup, Stage};

use super::PATIENCE;

/// The snapshot controller is down, so that deleted snapshots remain: the run does not succeed before they are gone,
/// deletes each once, and succeeds when the controller is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_waits_for_the_snapshot_controller() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    stage.testbed.stop_snapshot_controller();
    stage.fire(&daemon).await;
    let waiting = stage
        .run_until("the verification to miss something", |status| {
            status.phase.finished() || status.message.starts_with("verifying: ")
        })
        .await;
    assert_eq!(waiting.phase, Phase::Running, "{waiting:#?}");
    let remain = stage.list::<VolumeSnapshot>().await;
    let is_stuck = |uid: &String| stage.jam.stuck_snapshots.iter().any(|one| one.uid == *uid);
    let going = remain.iter().filter(|one| {
        one.metadata.uid.as_ref().is_some_and(is_stuck) && one.metadata.deletion_timestamp.is_some()
    });
    assert!(going.count() > 0, "{waiting:#?}");

    stage.testbed.start_snapshot_controller();
    let status = stage.finished_within(PATIENCE).await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());
    assert_eq!(
        stage.destroyed().await.len(),
        stage.jam.stuck_snapshots.len()
    );
    stage.pending_are_bound().await;
    stage.forget_run().await;
    stage.released().await;
}

/// The cluster refuses the provisioner's new pods, so that none becomes Ready: the run fails with this reason, its sources
/// are released, the alert finds the failed run, and the circuit breaker prevents the next one.
#[rstest]
#[case::rollout(Layout::Classic)]
#[case::pods_deleted(Layout::OperatorManaged)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_fails_if_the_provisioner_never_becomes_ready(#[case] layout: Layout) {
    let stage = Stage::jammed_with(Setup {
        world: WorldConfig {
            layout,
            ..WorldConfig::new(Timings::fast())
        },
        ..Setup::default()
    })
    .await;
    let settings = Settings {
        within: "10s",
        cooldown: "0s",
        gates: ", breakerAfter: 1",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let restricted =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(stage.testbed.client());
    let namespace = &stage.world.config().namespace;
    namespaces
        .patch(
            namespace,
            &PatchParams::default(),
            &Patch::Merge(restricted),
        )
        .await
        .unwrap();
    stage.fire(&daemon).await;
    let status = stage.finished_within(PATIENCE).await;
    assert_eq!(status.phase, Phase::Failed, "{status:#?}");
    assert!(status.message.contains("restartProvisioner failed"));
    let phase = |wanted| {
        let record = status.steps.iter().find(|record| record.step == wanted);
        record.map(|record| record.phase)
    };
    assert_eq!(phase(StepName::RestartProvisioner), Some(StepPhase::Failed));
    assert_eq!(
        phase(StepName::VerifyProvisioning),
        Some(StepPhase::Skipped)
    );
    stage.released().await;
    let failed = "locksmith_remediation_last_finished_timestamp_seconds{";
    daemon
        .until("the alerts to have what they look at", |samples| {
            let last = samples.iter().any(|(name, value)| {
                name.starts_with(failed) && name.contains("phase=\"Failed\"") && *value > 0.0
            });
            last && samples.get("locksmith_breaker_tripped") == Some(&1.0)
        })
        .await;

    let (code, answer) = daemon
        .fire("LocksmithRestoreStuck", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    // Without any pod of the provisioner, there is no plan either.
    let kept = |run: &Arc<Remediation>| {
        let status = run.status.clone().unwrap_or_default();
        let mut gates = status.gates.iter();
        status.started_at.is_none() && gates.any(|gate| gate.gate == "breaker" && !gate.open)
    };
    let runs = stage
        .until::<Remediation>("the breaker to keep another run", |runs| {
            runs.iter().any(kept)
        })
        .await;
    assert_eq!(runs.len(), 2);
    stage.nothing_is_held().await;
}
