//! A second attempt respects approvals, releases and scaling made during the first.

use rstest::rstest;

use super::playbook::{act, apps, deeds, drive};
use super::sim::{Cluster, Happening};
use crate::api::remediation::{Decision, Phase};
use crate::config::{Config, Duration};
use crate::model::fixture::at;

/// The lock comes back once, and each plan has to be approved; the first is within a minute.
fn approved_once(prepare: impl FnOnce(&mut Cluster)) -> super::sim::Sim {
    let mut config = act();
    let playbook = config.playbooks.0.get_mut("csi-operation-locks");
    playbook.unwrap().approval = true;
    drive(&apps(), config, |cluster| {
        cluster.jams_to_come = 1;
        cluster.happens_after(1, Happening::Decides(Decision::Approved));
        prepare(cluster);
    })
}

fn restarts(sim: &super::sim::Sim) -> usize {
    let deeds = deeds(sim).into_iter();
    deeds.filter(|deed| deed.starts_with("Rollout")).count()
}

/// An approval is of one plan: that of the next attempt waits for its own.
#[test]
fn next_attempt_waits_for_its_own_approval() {
    let sim = approved_once(|cluster| {
        cluster.happens_after(60, Happening::Decides(Decision::Approved));
    });
    assert_eq!(sim.status().phase, Phase::Succeeded, "{:#?}", sim.told);
    assert_eq!((sim.status().attempt, restarts(&sim)), (2, 2));
    let waits = "the next attempt waits: gate approval";
    assert!(
        sim.told.iter().any(|line| line.contains(waits)),
        "{:#?}",
        sim.told
    );
    assert!(sim.status().steps.last().unwrap().started_at >= at(60));
}

#[rstest]
#[case::that_is_rejected(Some(Decision::Rejected))]
#[case::that_nobody_decides_on(None)]
fn next_attempt_without_approval_does_not_start(#[case] decision: Option<Decision>) {
    let sim = approved_once(|cluster| {
        if let Some(decision) = decision {
            cluster.happens_after(60, Happening::Decides(decision));
        }
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert_eq!(restarts(&sim), 1);
}

/// Holds last for two hours: an approval that comes later finds nothing held, and nothing is done unheld.
#[test]
fn plan_approved_after_the_holds_ended_is_not_run() {
    let sim = approved_once(|cluster| {
        cluster.happens_after(150, Happening::Decides(Decision::Approved));
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert_eq!(restarts(&sim), 1, "{:#?}", sim.told);
}

/// The same behind a gate that stays closed for longer than the holds last.
#[test]
fn run_does_not_act_once_everything_was_released() {
    let config = Config {
        gates: crate::config::Gates {
            give_up_after: Duration::from_secs(6 * 3600),
            ..act().gates
        },
        ..act()
    };
    let sim = drive(&apps(), config, |cluster| {
        cluster.happens_after(1, Happening::KillSwitch(true));
        cluster.happens_after(180, Happening::KillSwitch(false));
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        deeds(&sim).iter().all(|deed| deed.starts_with("Hold")),
        "{:?}",
        deeds(&sim)
    );
}

/// Somebody else controls the number of replicas; the next plan would otherwise adopt their number.
#[test]
fn provisioner_scaled_between_attempts_is_not_restarted() {
    let sim = drive(&apps(), act(), |cluster| {
        cluster.jams_to_come = 1;
        cluster.happens_after(6, Happening::Scales(1));
    });
    assert_eq!(sim.status().phase, Phase::Failed, "{:#?}", sim.told);
    assert!(
        sim.status().message.contains("somebody scaled"),
        "{:#?}",
        sim.told
    );
    assert_eq!(restarts(&sim), 1);
}
