//! Objects of a run are deleted and re-created during the run.

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use locksmith::api::remediation::Phase;
use locksmith::api::{SkipReason, StepName};
use locksmith::demo::scenario::{App, Restore};

use crate::support::stage::{Settings, Stage};

use super::{PATIENCE, ends_well_or_is_undone};

/// A namespace is deleted during a run: the run continues with the others and skips its objects, and nothing stays held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn run_survives_a_deleted_namespace() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let namespaces: Api<Namespace> = Api::all(stage.testbed.client());
    let doomed = "home-automation";
    namespaces
        .delete(doomed, &Default::default())
        .await
        .unwrap();
    let status = ends_well_or_is_undone(&stage, &daemon).await;
    if status.phase == Phase::Succeeded {
        for pending in &stage.jam.pending {
            if pending.claim.namespace == doomed {
                continue;
            }
            let claims = stage.api::<PersistentVolumeClaim>(&pending.claim.namespace);
            let claim = claims.get(&pending.claim.name).await.unwrap();
            assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
        }
    }
    stage
        .until::<Namespace>("the namespace to be gone", |all| {
            all.iter().all(|one| one.name_any() != doomed)
        })
        .await;
    stage.released().await;
}

/// A claim that waits for its restore is deleted and re-created with the same name during a run: it counts as gone, not as
/// Bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn recreated_claim_counts_as_gone() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        // It exists again before its phase is checked.
        settle: "20s",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let from_snapshot = |restore: &Restore| matches!(restore, Restore::Snapshot(_));
    let pending = &stage.jam.pending;
    let chosen = pending.iter().find(|one| from_snapshot(&one.restore));
    let chosen = chosen.unwrap();
    stage.fire(&daemon).await;
    stage.first_hold().await;
    let claims = stage.api::<PersistentVolumeClaim>(&chosen.claim.namespace);
    claims
        .delete(&chosen.claim.name, &Default::default())
        .await
        .unwrap();
    stage
        .until::<PersistentVolumeClaim>("the claim to be gone", |all| {
            all.iter()
                .all(|one| one.uid().as_deref() != Some(&*chosen.claim.uid))
        })
        .await;
    let app = App::new(&chosen.claim.namespace, &chosen.claim.name);
    claims
        .create(&Default::default(), &app.restored_claim(&chosen.restore))
        .await
        .unwrap();
    let status = stage.finished_within(PATIENCE).await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let verified = status
        .steps
        .iter()
        .rfind(|record| record.step == StepName::VerifyProvisioning)
        .unwrap();
    let bound = format!("{} claims Bound", pending.len() - 1);
    assert_eq!(verified.message, bound);
    let [left] = &verified.skipped[..] else {
        panic!("not one left alone: {verified:#?}")
    };
    assert!(left.object.uid == *chosen.claim.uid, "{left:#?}");
    assert_eq!(left.reason, SkipReason::Replaced);
    assert!(!stage.held().await.is_empty(), "those of stopped apps");
    stage.forget_run().await;
    stage.released().await;
}
