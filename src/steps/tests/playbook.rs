//! The playbook from the alert to the verdict, and what must not be done to get there.

use rstest::rstest;

use super::sim::{App, ClaimIs, Cluster, FaultRates, Happening, Sim, SnapshotIs, Verb};
use crate::api::ObjectKind;
use crate::api::SkipReason;
use crate::api::StepName;
use crate::api::remediation::{Phase, StepPhase};
use crate::config::{Config, Duration, Mode, ResumeWhen};
use crate::model::fixture::*;
use crate::steps::Intent;

/// A configuration that acts, and takes its time over the hold so that something can happen meanwhile.
pub fn act() -> Config {
    let mut config = Config {
        mode: Mode::Act,
        ..Config::default()
    };
    config.steps.suspend_sources.settle = Duration::from_secs(75);
    config.steps.suspend_sources.within = Duration::from_secs(5 * 60);
    config
}

/// The jam: of four apps one backup and one restore hang.
pub fn apps() -> Vec<App> {
    vec![App::fine(), App::stuck(), App::restoring(), App::fine()]
}

/// Drives a run about the jam for up to eight hours.
pub fn drive(apps: &[App], config: Config, prepare: impl FnOnce(&mut Cluster)) -> Sim {
    let mut cluster = Cluster::jammed(apps, false);
    prepare(&mut cluster);
    let mut sim = Sim::new(cluster, config, FaultRates::default());
    sim.run_until(at(8 * 60));
    sim.check_end();
    sim
}

/// What was written, as `Verb name`, in order.
pub fn deeds(sim: &Sim) -> Vec<String> {
    let told = sim
        .done
        .iter()
        .map(|intent| format!("{:?} {}", Verb::of(intent), intent.object().name));
    told.collect()
}

#[test]
fn the_playbook_heals_the_jam_and_holds_nothing_at_the_end() {
    let sim = drive(&apps(), act(), |_| {});
    let status = sim.status();
    assert_eq!(status.phase, Phase::Succeeded, "{:#?}", sim.told);
    let steps: Vec<_> = status
        .steps
        .iter()
        .map(|record| (record.step, record.phase))
        .collect();
    let expected = StepName::ALL
        .iter()
        .take(5)
        .map(|step| (*step, StepPhase::Succeeded));
    assert_eq!(steps, expected.collect::<Vec<_>>());
    let holds = sim
        .done
        .iter()
        .filter(
            |intent| matches!(intent, Intent::CreateHold { spec, .. } if spec.sources.len() == 4),
        )
        .count();
    assert_eq!(holds, 1, "one hold of four sources");
    assert_eq!(
        deeds(&sim)[1..],
        [
            "Rollout csi-rbdplugin-provisioner",
            "HandOver rook-ceph-rbd-csi-ceph-com",
            "HandOver external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com",
        ]
    );
    assert!(status.verdict.iter().all(|check| check.passed));
    assert_eq!((status.held, status.holds.len()), (0, 0));
}

/// The manual playbook's own order.
fn literal() -> Config {
    let mut config = act();
    let playbook = config.playbooks.0.get_mut("csi-operation-locks").unwrap();
    playbook.steps.swap(1, 2);
    assert_eq!(playbook.steps[1], StepName::DeleteFailedSnapshots);
    config
}

#[test]
fn the_literal_order_of_the_manual_playbook_heals_the_jam_too() {
    let sim = drive(&apps(), literal(), |_| {});
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(
        deeds(&sim)[1..],
        [
            "Delete volsync-a1-src",
            "Rollout csi-rbdplugin-provisioner",
            "HandOver rook-ceph-rbd-csi-ceph-com",
            "HandOver external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com",
        ]
    );
}

/// 10 of 26 deletions before a restart hung like this on real sidecars.
#[test]
fn a_deletion_that_the_snapshotter_loses_track_of_is_freed() {
    let sim = drive(&apps(), literal(), |cluster| cluster.loses_track = true);
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let touched: Vec<_> = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("Touch"))
        .collect();
    assert_eq!(touched.len(), 1, "{touched:?}");
    assert!(touched[0].starts_with("Touch snapcontent-"), "{touched:?}");
}

/// A content whose annotations are full takes no more of them. The run waited for it until `within` was over.
#[test]
fn deletion_that_cannot_be_freed_is_left_after_half_a_minute() {
    let sim = drive(&apps(), literal(), |cluster| {
        cluster.loses_track = true;
        cluster.refuses = Some(Verb::Touch);
    });
    let status = sim.status();
    let mut steps = status.steps.iter();
    let verify = steps.rfind(|step| step.step == StepName::VerifyProvisioning);
    let verify = verify.unwrap();
    assert_eq!(verify.phase, StepPhase::Succeeded, "{:#?}", sim.told);
    let took = verify
        .finished_at
        .unwrap()
        .duration_since(verify.started_at);
    let within = act().steps.verify_provisioning.within.signed();
    assert!(took < within / 2, "{took:?}");
    let left: Vec<_> = verify.skipped.iter().map(|left| left.object.kind).collect();
    assert_eq!(left, [ObjectKind::VolumeSnapshotContent]);
}

/// The restart does not help a snapshot whose own creation fails.
#[test]
fn a_snapshot_that_is_still_failed_after_the_restart_is_deleted() {
    let sim = drive(&apps(), act(), |cluster| cluster.times_out = true);
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(
        deeds(&sim)[1..],
        [
            "Rollout csi-rbdplugin-provisioner",
            "HandOver rook-ceph-rbd-csi-ceph-com",
            "HandOver external-snapshotter-leader-rook-ceph-rbd-csi-ceph-com",
            "Delete volsync-a1-src",
        ]
    );
    let (restart, delete) = (&sim.status().steps[1], &sim.status().steps[2]);
    let settle = act().steps.delete_failed_snapshots.settle.signed();
    let settled = restart.finished_at.unwrap() + settle;
    assert!(delete.finished_at.unwrap() >= settled, "{delete:#?}");
}

/// The call for a restored claim hangs again after the restart. It refuses nothing and logs nothing, so that only the claim
/// tells of it.
#[test]
fn a_restore_that_hangs_again_is_no_success() {
    let sim = drive(&apps(), act(), |cluster| cluster.hangs = true);
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        status
            .message
            .starts_with("verifyProvisioning failed: 1 still Pending"),
        "{}",
        status.message
    );
}

/// Younger than any threshold: behind a jam every Pending claim counts.
#[test]
fn a_claim_that_is_a_minute_old_is_verified_too() {
    let sim = drive(&apps(), act(), |cluster| {
        let young = claim("media", "young").pending().created(at(-1));
        cluster.restore(young);
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(sim.status().steps[3].message, "2 claims Bound");
}

/// Made while the run was at work, so that no plan knows of it.
#[test]
fn a_claim_made_meanwhile_that_waits_is_no_success() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.node.ready = false;
        cluster.happens_after(3, Happening::ClaimHangs);
    });
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    let told = "1 still wait for the driver: PersistentVolumeClaim media/late";
    assert!(status.message.ends_with(told), "{}", status.message);
}

#[test]
fn a_lock_without_any_claim_is_repaired_and_not_called_verified() {
    let sim = drive(&[App::fine(), App::stuck()], act(), |_| {});
    let status = sim.status();
    assert_eq!(status.phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(status.steps[3].message, "no claims to verify");
    assert_eq!(
        status.message,
        "repaired; no claim was waiting to verify it with"
    );
}

#[test]
fn the_pods_of_an_operators_deployment_are_replaced() {
    let mut sim = Sim::new(Cluster::jammed(&apps(), true), act(), FaultRates::default());
    sim.run_until(at(8 * 60));
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let replaced = deeds(&sim)
        .iter()
        .filter(|deed| deed.starts_with("Replace"))
        .count();
    assert_eq!(replaced, 2);
}

#[test]
fn nothing_is_written_in_mode_observe() {
    let sim = drive(&apps(), Config::default(), |_| {});
    assert_eq!(deeds(&sim), Vec::<String>::new());
    assert_eq!(
        sim.status().phase,
        Phase::Failed,
        "it waited for its gates for too long"
    );
}

#[test]
fn mode_plan_records_what_it_would_do_and_does_nothing() {
    let config = Config {
        mode: Mode::Plan,
        ..Config::default()
    };
    let sim = drive(&apps(), config, |_| {});
    assert_eq!(deeds(&sim), Vec::<String>::new());
    assert_eq!(sim.status().phase, Phase::Planned);
    let plan = sim.status().plan.unwrap();
    let sizes: Vec<_> = plan.steps.iter().map(|step| step.targets.len()).collect();
    assert_eq!(sizes, [0, 5, 1, 2, 0]);
    assert_eq!(plan.steps[0].held_sources().count(), 4);
}

#[test]
fn a_snapshot_that_becomes_ready_is_not_deleted() {
    // While the holds are watched.
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::SnapshotReady(1));
    });
    assert!(
        deeds(&sim).iter().all(|deed| !deed.starts_with("Delete")),
        "{:?}",
        deeds(&sim)
    );
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let left = &sim.status().steps[2].skipped;
    assert_eq!((left.len(), left[0].reason), (1, SkipReason::Ready));
}

#[test]
fn protected_snapshots_and_those_the_driver_has_are_skipped() {
    let apps = vec![
        App {
            snapshot: SnapshotIs::StuckAndProtected,
            ..App::fine()
        },
        App {
            snapshot: SnapshotIs::Accepted,
            ..App::fine()
        },
        App::stuck(),
        App::fine(),
    ];
    let sim = drive(&apps, literal(), |_| {});
    let deleted: Vec<_> = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("Delete"))
        .collect();
    assert_eq!(deleted, ["Delete volsync-a2-src"]);
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
}

#[test]
fn a_claim_made_anew_is_gone_and_no_success() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.node.ready = false;
        cluster.happens_after(3, Happening::RecreatesClaim(2));
    });
    let status = sim.status();
    let verify = &status.steps[3];
    assert_eq!(verify.message, "0 claims Bound");
    assert_eq!(verify.skipped[0].reason, SkipReason::Replaced);
}

#[rstest]
#[case::gone(Happening::DeletesClaim(2), SkipReason::Gone)]
#[case::going(Happening::ClaimTerminates(2), SkipReason::BeingDeleted)]
fn a_claim_somebody_deletes_is_not_waited_for(#[case] how: Happening, #[case] reason: SkipReason) {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.node.ready = false;
        cluster.happens_after(3, how);
    });
    let verify = &sim.status().steps[3];
    assert_eq!(
        (verify.phase, verify.skipped[0].reason),
        (StepPhase::Succeeded, reason)
    );
}

#[test]
fn source_without_a_running_app_is_released_at_the_deadline() {
    // Its claim is gone, so that no pod will ever mount it.
    let mut apps = apps();
    apps.push(App {
        claim: ClaimIs::Missing,
        ..App::fine()
    });
    let sim = drive(&apps, act(), |_| {});
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let resumed = &sim.status().steps[4];
    assert!(
        resumed
            .skipped
            .iter()
            .any(|left| *left.object.name == *"a4")
    );
    assert!(resumed.finished_at.unwrap() < at(30));
    let deadline = act().steps.suspend_sources.deadline.signed();
    let over = sim.cluster.now;
    assert!(
        over >= at(0) + deadline && over < at(1) + deadline,
        "{over}"
    );
}

#[test]
fn all_are_resumed_where_so_configured() {
    let mut apps = apps();
    apps.push(App {
        claim: ClaimIs::Missing,
        ..App::fine()
    });
    let mut config = act();
    config.steps.resume_sources.when = ResumeWhen::All;
    let sim = drive(&apps, config, |_| {});
    assert!(sim.cluster.now < at(30), "{:#?}", sim.told);
}

#[test]
fn a_lock_that_comes_back_is_gone_for_a_second_time() {
    let sim = drive(&apps(), act(), |cluster| cluster.jams_to_come = 1);
    let status = sim.status();
    assert_eq!(status.phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(status.attempt, 2);
    let rollouts = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("Rollout"))
        .count();
    assert_eq!(rollouts, 2);
}

/// No snapshot hangs, so that only the refusals of the claim itself show the lock.
#[test]
fn lock_seen_only_by_a_restore_is_retried() {
    let apps = vec![App::fine(), App::restoring()];
    let sim = drive(&apps, act(), |cluster| cluster.jams_to_come = 1);
    assert_eq!(sim.status().attempt, 2, "{:#?}", sim.told);
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
}

#[test]
fn a_lock_that_always_comes_back_ends_the_run() {
    let sim = drive(&apps(), act(), |cluster| cluster.jams_to_come = 9);
    let status = sim.status();
    assert_eq!(
        (status.phase, status.attempt),
        (Phase::Failed, 2),
        "{:#?}",
        sim.told
    );
    assert_eq!(sim.cluster.held().count(), 0);
}
