//! What goes wrong half-way: whatever it is, the run ends, and nothing stays held.

use rstest::rstest;

use super::playbook::{act, apps, deeds, drive};
use super::sim::{Cluster, FaultRates, Happening, Sim, Verb, place, seconds};
use crate::api::SkipReason;
use crate::api::StepName;
use crate::api::remediation::{Phase, StepPhase};
use crate::config::{Config, Duration};
use crate::model::Kind;
use crate::model::fixture::*;
use crate::model::records::Protection;
use crate::steps::Intent;

/// Verifies once.
fn once() -> Config {
    let mut config = act();
    config
        .playbooks
        .0
        .get_mut("csi-operation-locks")
        .unwrap()
        .attempts = 1;
    config
}

/// How often the source of the app was put into a hold.
fn holds_of(sim: &Sim, app: usize) -> usize {
    let (namespace, name) = place(app);
    let place = format!("{namespace}/{name}");
    let added = sim.done.iter().filter_map(|intent| match intent {
        Intent::CreateHold { spec, .. } => Some(&spec.sources),
        Intent::PatchHold { change, .. } => Some(&change.add),
        _ => None,
    });
    added
        .filter(|sources| sources.values().any(|of| *of == place))
        .count()
}

#[rstest]
#[case::holds_are_refused(StepName::SuspendSources, |c: &mut Cluster| c.refuses = Some(Verb::Hold))]
#[case::deletions_are_refused(StepName::DeleteFailedSnapshots, |c: &mut Cluster| {
    c.refuses = Some(Verb::Delete);
    c.times_out = true;
})]
#[case::the_rollout_is_refused(StepName::RestartProvisioner, |c: &mut Cluster| c.refuses = Some(Verb::Rollout))]
#[case::the_rollout_is_reverted(StepName::RestartProvisioner, |c: &mut Cluster| c.reverts = true)]
#[case::nobody_takes_the_leases_over(StepName::RestartProvisioner, |c: &mut Cluster| {
    c.takeover = seconds(3600);
    c.refuses = Some(Verb::HandOver);
})]
#[case::the_lock_comes_back(StepName::VerifyProvisioning, |c: &mut Cluster| c.jams_to_come = 9)]
fn a_step_that_fails_leads_to_the_resume(#[case] step: StepName, #[case] how: fn(&mut Cluster)) {
    let sim = drive(&apps(), once(), how);
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        status.message.starts_with(step.as_str()),
        "{}",
        status.message
    );
    let phase_of = |step| {
        status
            .steps
            .iter()
            .find(|r| r.step == step)
            .map(|r| r.phase)
    };
    let after = StepName::ALL
        .into_iter()
        .take(4)
        .filter(|later| *later > step);
    for skipped in after {
        assert_eq!(phase_of(skipped), Some(StepPhase::Skipped));
    }
    assert_eq!(
        phase_of(StepName::ResumeSources),
        Some(StepPhase::Succeeded)
    );
    assert!(status.finished_at.unwrap() < at(40), "{:#?}", sim.told);
}

#[rstest]
#[case::for_a_while(3, Phase::Succeeded, "repaired")]
#[case::for_good(
    600,
    Phase::Failed,
    "deleteFailedSnapshots failed: failed to list VolumeSnapshots after the write: 500"
)]
fn a_list_that_fails(#[case] minutes: i64, #[case] phase: Phase, #[case] says: &str) {
    let sim = drive(&apps(), once(), |cluster| {
        cluster.lists_fail_until = Some(at(minutes));
    });
    let status = sim.status();
    assert_eq!(status.phase, phase, "{:#?}", sim.told);
    assert!(status.message.starts_with(says), "{}", status.message);
}

#[test]
fn pods_that_may_not_be_deleted_fail_the_restart() {
    let mut cluster = Cluster::jammed(&apps(), true);
    cluster.refuses = Some(Verb::Replace);
    let mut sim = Sim::new(cluster, once(), FaultRates::default());
    sim.run_until(at(8 * 60));
    sim.check_end();
    assert!(
        sim.status().message.starts_with("restartProvisioner"),
        "{:#?}",
        sim.told
    );
}

/// The policy is there as it ships, and the API server does not enforce it.
#[test]
fn ineffective_hold_ends_the_run_before_a_deletion() {
    let sim = drive(&apps(), once(), |cluster| cluster.enforces = false);
    assert!(
        sim.status()
            .message
            .starts_with("suspendSources failed: the hold is not in force"),
        "{:#?}",
        sim.told
    );
    assert!(
        deeds(&sim).iter().all(|deed| deed.starts_with("Hold")),
        "{:?}",
        deeds(&sim)
    );
}

/// It is in force when it is proven, and not any more a moment later.
#[test]
fn a_hold_that_ceases_to_hold_fails_the_run() {
    let sim = drive(&apps(), once(), |cluster| {
        cluster.refuses = Some(Verb::Rollout);
        cluster.happens_after(2, Happening::Enforces(false));
        cluster.happens_after(2, Happening::AnotherSnapshot(3));
    });
    assert!(
        sim.status()
            .message
            .contains("from a held source; the hold is not in force"),
        "{:#?}",
        sim.told
    );
}

#[rstest]
fn an_abort_at_any_minute_ends_the_run(#[values(0, 1, 2, 3, 4, 5, 6, 7)] minute: i64) {
    // Each step takes a while.
    let sim = drive(&apps(), act(), |cluster| {
        cluster.takeover = seconds(200);
        cluster.node.ready = false;
        cluster.happens_after(minute, Happening::Aborts);
    });
    let ended = sim.status().finished_at.unwrap();
    let healed = sim.status().phase == Phase::Succeeded && ended <= at(minute);
    assert!(
        healed || sim.status().phase == Phase::Aborted,
        "{:#?}",
        sim.told
    );
    assert!(healed || ended < at(minute + 1), "{:#?}", sim.told);
    assert!(
        sim.cluster.now < at(minute + 2),
        "released as soon as the run ends"
    );
}

/// The steps and their verdict are over in less than that.
#[test]
fn an_abort_during_the_verdict_ends_it() {
    let sim = drive(&apps(), act(), |cluster| {
        // An app that does not come up keeps the verdict waiting.
        let pod = (place(0).0, "a0-0".into());
        cluster.pods.get_mut(&pod).unwrap().running = false;
        cluster.happens_after(6, Happening::Aborts);
    });
    assert_eq!(sim.status().phase, Phase::Aborted, "{:#?}", sim.told);
    assert!(
        sim.told.iter().any(|line| line.contains("verifying")),
        "{:#?}",
        sim.told
    );
}

#[test]
fn run_waits_while_a_gate_is_closed() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.node.ready = false;
        cluster.happens_after(2, Happening::KillSwitch(true));
        cluster.happens_after(3, Happening::KillSwitch(false));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let waits = "Running restartProvisioner: restartProvisioner waits: gate killSwitch";
    let at = sim
        .told
        .iter()
        .position(|line| line.starts_with(waits))
        .unwrap();
    let goes_on = "Running restartProvisioner: restartProvisioner in progress: waits until lease";
    assert!(sim.told[at + 1].starts_with(goes_on), "{:#?}", sim.told);
}

/// The run stops working on what somebody has taken in hand, says so, and releases what it holds.
#[rstest]
#[case::down_before_the_restart(1, 1)]
#[case::up_before_the_restart(1, 3)]
#[case::to_nothing(1, 0)]
#[case::down_in_the_middle_of_the_restart(3, 1)]
#[case::up_in_the_middle_of_the_restart(3, 3)]
fn a_provisioner_that_a_person_scales_is_theirs(
    #[case] minute: i64,
    #[case] replicas: i32,
    #[values(false, true)] operator: bool,
) {
    let sim = drive(&apps(), once(), |cluster| {
        if operator {
            *cluster = Cluster::jammed(&apps(), true);
        }
        // So that the leases expire by themselves, which takes until minute 3.
        cluster.node.ready = false;
        cluster.happens_after(minute, Happening::Scales(replicas));
    });
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    let told = format!("from 2 to {replicas} during the run; it is not restarted");
    assert!(
        status
            .message
            .starts_with("restartProvisioner failed: somebody scaled")
    );
    assert!(status.message.contains(&told), "{}", status.message);
    // What was scaled is left as the person wants it, and nothing of it is touched any more.
    assert_eq!(sim.cluster.deployment.replicas, replicas);
    let touches = |intent: &&Intent| matches!(intent, Intent::Rollout { .. } | Intent::Replace(_));
    if minute == 1 {
        assert_eq!(sim.done.iter().filter(touches).count(), 0, "{:?}", sim.done);
    }
    let held = sim.cluster.held().count();
    assert_eq!((held, status.held), (0, 0));
}

#[test]
fn a_watch_that_fails_makes_the_run_wait() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::WatchFails(Kind::Events));
        cluster.happens_after(4, Happening::WatchLives(Kind::Events));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert!(
        sim.told
            .iter()
            .any(|line| line.contains("gate freshness: ")),
        "{:#?}",
        sim.told
    );
}

/// Holds end at their deadline, whether or not they can be seen; so does a run that waits for their release.
#[test]
fn run_with_unreadable_hold_ends_after_the_deadline() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::WatchFails(Kind::SnapshotHolds));
    });
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    assert_eq!((status.held, status.holds.len()), (0, 0));
}

/// A gate may keep a run from going on; what it holds is released at its deadline all the same, and the run ends.
#[test]
fn a_gate_that_stays_closed_keeps_nothing_held_and_no_run_alive() {
    let mut config = act();
    config.gates.give_up_after = Duration::from_secs(3 * 3600);
    let sim = drive(&apps(), config, |cluster| {
        cluster.happens_after(1, Happening::KillSwitch(true));
    });
    let status = sim.status();
    assert_eq!(status.phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        status
            .message
            .contains("waited for longer than gates.giveUpAfter (3h): gate killSwitch: "),
        "{:#?}",
        sim.told
    );
    assert!(
        deeds(&sim).iter().all(|deed| deed.starts_with("Hold")),
        "{:?}",
        deeds(&sim)
    );
}

#[test]
fn an_abort_behind_a_closed_gate_releases_at_once() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::KillSwitch(true));
        cluster.happens_after(2, Happening::Aborts);
    });
    assert_eq!(sim.status().phase, Phase::Aborted, "{:#?}", sim.told);
    assert!(sim.cluster.now < at(4), "{:#?}", sim.told);
}

#[test]
fn a_run_that_is_deleted_releases_what_it_held() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::DeletesRun);
    });
    assert!(sim.cluster.run.is_none());
    assert!(sim.cluster.now < at(3));
}

/// A source that a person releases stays released, in this attempt and in the next.
#[rstest]
#[case::while_the_holds_are_watched(1, 0)]
#[case::while_the_holds_are_watched_in_two_attempts(1, 1)]
#[case::after_that(3, 0)]
#[case::after_that_in_two_attempts(3, 1)]
fn released_source_is_not_held_again(#[case] minute: i64, #[case] jams_to_come: u32) {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.jams_to_come = jams_to_come;
        cluster.happens_after(minute, Happening::Releases(0));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(sim.status().attempt, 1 + jams_to_come);
    assert_eq!(holds_of(&sim, 0), 1);
}

/// Nothing is done without a hold that should be there.
#[rstest]
#[case::while_it_settles(1, "was deleted by somebody else")]
#[case::after_that(2, "nothing is held any longer")]
fn a_hold_that_a_person_deletes_ends_the_run(#[case] minute: i64, #[case] says: &str) {
    let sim = drive(&apps(), once(), |cluster| {
        cluster.refuses = Some(Verb::Rollout);
        cluster.happens_after(minute, Happening::DeletesHold);
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert!(sim.status().message.contains(says), "{:#?}", sim.told);
}

#[test]
fn opted_out_source_is_skipped() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.refuses = Some(Verb::Hold);
        cluster.happens_after(1, Happening::OptsOut(0));
        cluster.happens_after(2, Happening::Refuses(None));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!(holds_of(&sim, 0), 0);
    let left = &sim.status().steps[0].skipped;
    assert!(
        left.iter().any(|left| left.reason == SkipReason::OptedOut),
        "{left:#?}"
    );
}

/// A second plan is a new decision.
#[test]
fn next_attempt_evaluates_every_gate_again() {
    let mut config = act();
    config.gates.max_deletions = 2;
    let sim = drive(&apps(), config, |cluster| {
        cluster.jams_to_come = 1;
        cluster.happens_after(5, Happening::AnotherStuck(4));
        cluster.happens_after(5, Happening::AnotherStuck(5));
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        sim.status().message.contains("blastRadius"),
        "{:#?}",
        sim.told
    );
    let deleted = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("Delete"))
        .count();
    assert_eq!(deleted, 1);
}

/// A protected snapshot that fails while the run waits for its gates is no target, and the verdict must still exempt it.
#[test]
fn verdict_exempts_snapshots_skipped_before_the_start() {
    let sim = drive(&apps(), act(), |cluster| {
        let skipped = snapshot("media", "by-hand", "a0")
            .unready()
            .protected(Protection::DoNotDelete);
        let at_place = ("media".into(), "by-hand".into());
        cluster.snapshots.insert(at_place, skipped.created(at(-5)));
        cluster.happen(&Happening::KillSwitch(true));
        cluster.happens_after(8, Happening::KillSwitch(false));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
}

/// The leader was deleted by force, so that its processes run on: its leases expire, and are not handed over.
#[test]
fn leases_of_a_leader_deleted_by_force_are_waited_for() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.happens_after(1, Happening::ForcesLeader);
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let handed_over = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("HandOver"));
    assert_eq!(handed_over.count(), 0);
    let waits = "restartProvisioner in progress: waits until lease";
    assert!(
        sim.told.iter().any(|line| line.contains(waits)),
        "{:#?}",
        sim.told
    );
}

#[test]
fn run_succeeds_although_the_process_often_dies() {
    let chance = FaultRates {
        seed: 7,
        lag: 3,
        fails: 10,
        dies: 100,
        races: 10,
    };
    let mut sim = Sim::new(Cluster::jammed(&apps(), false), act(), chance);
    sim.run_until(at(8 * 60));
    sim.check_end();
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    let rollouts = deeds(&sim)
        .into_iter()
        .filter(|deed| deed.starts_with("Rollout"))
        .count();
    assert_eq!(rollouts, 1, "a restart is asked for once");
}
