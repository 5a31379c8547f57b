//! The progress of a running step: counts, the condition it waits for and its deadline.

use super::playbook::{act, apps, drive};
use crate::api::StepName;
use crate::api::remediation::{Phase, StepPhase, StepProgress, StepRecord};
use crate::config::Config;
use crate::model::fixture::*;
use crate::model::{Kind, WatchState};
use crate::run_context::RunContext;
use crate::steps::step;

/// The progress of `name` in the jam, one minute after it began.
fn of_jam(name: StepName) -> StepProgress {
    let (world, config) = (World::jam(), Config::default());
    let findings = world.found(&config, at(0));
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let driver = DRIVER.into();
    let plan = crate::plan::make(&world.0, &findings, playbook, &driver, &config, at(0)).unwrap();
    let record = started(name);
    let run = run("mine");
    let cx = RunContext::new(&run, &world.0, &findings, &config, None, at(0));
    let cx = cx.with_plan(Some(&plan));
    step(name).progress(&cx, &record, plan.step(name).unwrap())
}

#[test]
fn progress_counts_objects_and_names_the_next_condition() {
    for (name, counts, waiting_for) in [
        (StepName::SuspendSources, (0, 3), "to be created"),
        (StepName::RestartProvisioner, (0, 4), "to end"),
        // Skipped: nothing is held yet.
        (
            StepName::DeleteFailedSnapshots,
            (1, 1),
            "proof that no snapshot was recreated",
        ),
        (
            StepName::VerifyProvisioning,
            (0, 1),
            "PersistentVolumeClaim media/sonarr to be Bound",
        ),
    ] {
        let progress = of_jam(name);
        assert_eq!((progress.done, progress.total), counts, "{progress:?}");
        assert!(progress.waiting_for.ends_with(waiting_for), "{progress:?}");
        assert!(progress.deadline > Some(at(-1)), "{progress:?}");
    }
}

/// Until every kind is listed, a missing object proves nothing.
#[test]
fn unsynced_watch_leaves_the_recorded_progress() {
    let config = Config::default();
    let recorded = StepProgress {
        done: 0,
        total: 1,
        ..of_jam(StepName::DeleteFailedSnapshots)
    };
    let mut run = run_in("mine", Phase::Running);
    let mut world = World::jam();
    let findings = world.found(&config, at(0));
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let driver = DRIVER.into();
    let plan = crate::plan::make(&world.0, &findings, playbook, &driver, &config, at(0)).unwrap();
    let status = run.status.as_mut().unwrap();
    status.plan = Some(plan);
    status.progress = Some("0/1".to_owned());
    status.steps = vec![StepRecord {
        progress: Some(recorded),
        ..started(StepName::DeleteFailedSnapshots)
    }];
    assert_ne!(
        crate::steps::progress(&run, &world.0, &findings, &config, at(0)),
        None
    );
    world
        .0
        .freshness
        .note(Kind::VolumeSnapshots, WatchState::Never, at(0));
    assert_eq!(
        crate::steps::progress(&run, &world.0, &findings, &config, at(0)),
        None
    );
}

/// The record of a step that began a minute ago.
pub(super) fn started(step: StepName) -> StepRecord {
    StepRecord {
        step,
        attempt: 1,
        phase: StepPhase::Started,
        started_at: at(-1),
        finished_at: None,
        acted_at: None,
        replaced_at: None,
        message: String::new(),
        skipped: Vec::new(),
        progress: None,
    }
}

#[test]
fn running_steps_record_their_progress_and_finished_ones_none() {
    let sim = drive(&apps(), act(), |_| {});
    for name in [StepName::SuspendSources, StepName::RestartProvisioner] {
        let of_step = sim.progress.iter().filter(|(of, _)| *of == name);
        let done: Vec<_> = of_step.map(|(_, progress)| progress.done).collect();
        assert!(!done.is_empty() && done.is_sorted(), "{name:?}: {done:?}");
    }
    let status = sim.status();
    assert_eq!(status.progress, None);
    assert!(status.steps.iter().all(|record| record.progress.is_none()));
}
