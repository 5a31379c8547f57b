//! Every kind of plan that must not be carried out, whoever made it.

use rstest::rstest;

use crate::api::{Action, Plan, PlannedStep, SkipReason, Skipped, StepName, Target};
use crate::api::{ObjectKey, ObjectKind};
use crate::model::fixture::*;
use crate::plan::lint::{self, LintNote};

fn object(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        ..claim("media", name).meta.key(kind)
    }
}

fn step(step: StepName, targets: Vec<(Action, ObjectKey)>) -> PlannedStep {
    let target = |(action, object)| Target { object, action };
    PlannedStep {
        targets: targets.into_iter().map(target).collect(),
        ..PlannedStep::new(step)
    }
}

fn notes(steps: Vec<PlannedStep>) -> Vec<LintNote> {
    lint::lint(&Plan::new(DRIVER.into(), steps, at(0)))
}

/// The only note about `steps`, as people read it.
fn note(steps: Vec<PlannedStep>) -> String {
    let notes = notes(steps);
    assert_eq!(notes.len(), 1, "{notes:?}");
    notes[0].to_string()
}

const KINDS: [ObjectKind; 10] = [
    ObjectKind::Lease,
    ObjectKind::StatefulSet,
    ObjectKind::DaemonSet,
    ObjectKind::PersistentVolumeClaim,
    ObjectKind::PersistentVolume,
    ObjectKind::VolumeSnapshot,
    ObjectKind::VolumeSnapshotContent,
    ObjectKind::ReplicationSource,
    ObjectKind::Deployment,
    ObjectKind::Pod,
];

const ACTIONS: [Action; 5] = [
    Action::Delete,
    Action::Rollout,
    Action::Replace,
    Action::HandOver,
    Action::Await,
];

/// Everything a step may do to a kind; whatever is not in this list is refused.
const ALLOWED: [(StepName, Action, ObjectKind); 10] = [
    (
        StepName::DeleteFailedSnapshots,
        Action::Delete,
        ObjectKind::VolumeSnapshot,
    ),
    (
        StepName::RestartProvisioner,
        Action::Rollout,
        ObjectKind::Deployment,
    ),
    (
        StepName::RestartProvisioner,
        Action::Await,
        ObjectKind::Deployment,
    ),
    (
        StepName::RestartProvisioner,
        Action::Replace,
        ObjectKind::Pod,
    ),
    (StepName::RestartProvisioner, Action::Await, ObjectKind::Pod),
    (
        StepName::RestartProvisioner,
        Action::HandOver,
        ObjectKind::Lease,
    ),
    (
        StepName::RestartProvisioner,
        Action::Await,
        ObjectKind::StatefulSet,
    ),
    (
        StepName::RestartProvisioner,
        Action::Await,
        ObjectKind::DaemonSet,
    ),
    (
        StepName::VerifyProvisioning,
        Action::Await,
        ObjectKind::PersistentVolumeClaim,
    ),
    (
        StepName::DeleteOrphanedSources,
        Action::Delete,
        ObjectKind::ReplicationSource,
    ),
];

#[test]
fn a_step_may_do_what_is_its_own_and_nothing_else() {
    for name in StepName::ALL {
        for kind in KINDS {
            for action in ACTIONS {
                let resume = step(StepName::ResumeSources, Vec::new());
                let notes = notes(vec![step(name, vec![(action, object(kind, "a"))]), resume]);
                let refused = notes
                    .iter()
                    .any(|note| matches!(note, LintNote::NotAllowed { .. }));
                let allowed = ALLOWED.contains(&(name, action, kind));
                assert_eq!(refused, !allowed, "{name:?} {action:?} {kind:?}: {notes:?}");
            }
        }
    }
}

fn deletion(object: ObjectKey) -> PlannedStep {
    step(
        StepName::DeleteFailedSnapshots,
        vec![(Action::Delete, object)],
    )
}

fn snapshot_key() -> ObjectKey {
    object(ObjectKind::VolumeSnapshot, "s")
}

#[rstest]
#[case::without_uid(ObjectKey { uid: "".into(), ..snapshot_key() })]
#[case::without_name(ObjectKey { name: "".into(), ..snapshot_key() })]
fn a_target_is_pinned(#[case] object: ObjectKey) {
    let step = StepName::DeleteFailedSnapshots;
    let expected = LintNote::NotPinned {
        step,
        object: object.clone(),
    };
    assert_eq!(notes(vec![deletion(object)]), [expected]);
}

#[test]
fn a_target_stands_once() {
    let twice = vec![
        (Action::Delete, snapshot_key()),
        (Action::Delete, snapshot_key()),
    ];
    assert_eq!(
        note(vec![step(StepName::DeleteFailedSnapshots, twice)]),
        "deleteFailedSnapshots: VolumeSnapshot media/s is listed twice"
    );
}

#[test]
fn skipped_object_is_no_target() {
    let mut step = deletion(snapshot_key());
    step.skipped
        .push(Skipped::new(snapshot_key(), SkipReason::Ready));
    assert_eq!(
        note(vec![step]),
        "deleteFailedSnapshots: VolumeSnapshot media/s is both skipped and a target"
    );
}

#[rstest]
#[case::never(vec![step(StepName::SuspendSources, Vec::new())])]
#[case::before(vec![step(StepName::ResumeSources, Vec::new()), step(StepName::SuspendSources, Vec::new())])]
fn held_sources_need_a_later_release(#[case] steps: Vec<PlannedStep>) {
    assert_eq!(notes(steps), [LintNote::NotResumed]);
}

#[test]
fn a_step_stands_once() {
    assert_eq!(
        note(vec![deletion(snapshot_key()), deletion(snapshot_key())]),
        "deleteFailedSnapshots is listed twice"
    );
}

/// A step that holds so many sources, in ten namespaces.
fn holding(sources: usize) -> PlannedStep {
    let mut suspend = PlannedStep::new(StepName::SuspendSources);
    for at in 0..sources {
        let namespace = format!("namespace-{}", at % 10);
        let names = suspend.sources.entry(namespace.into()).or_default();
        names.push(format!("application-{at}").into());
    }
    suspend
}

#[rstest]
#[case::as_many_as_a_bad_night_has(1_000, 500, true)]
#[case::ten_thousand_sources(10_000, 500, true)]
#[case::too_many_to_keep_evidence_of(1_000, 1_200, false)]
#[case::too_many_to_list_again_as_skipped(0, 900, false)]
#[case::too_many_to_write_down(80_000, 0, false)]
fn plan_too_large_to_record_is_refused(
    #[case] sources: usize,
    #[case] deletions: usize,
    #[case] fits: bool,
) {
    let snapshots = (0..deletions).map(|at| {
        let snapshot = object(ObjectKind::VolumeSnapshot, &format!("application-{at}"));
        (Action::Delete, snapshot)
    });
    let notes = notes(vec![
        holding(sources),
        step(StepName::DeleteFailedSnapshots, snapshots.collect()),
        step(StepName::ResumeSources, Vec::new()),
    ]);
    assert_eq!(notes.is_empty(), fits, "{notes:?}");
}

/// Ten thousand sources with names as long as they may be.
#[test]
fn plan_that_is_too_large_names_the_limit_and_the_namespace() {
    let mut suspend = PlannedStep::new(StepName::SuspendSources);
    for at in 0..10_000 {
        let namespace = if at % 10 < 7 { "tenant" } else { "media" };
        let names = suspend.sources.entry(namespace.into()).or_default();
        names.push(format!("{at:0>241}").into());
    }
    let notes = notes(vec![suspend, step(StepName::ResumeSources, Vec::new())]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    for (note, limit) in notes.iter().map(ToString::to_string).zip([
        "a Remediation can record only 1250000",
        "a SnapshotHold can list only 1250000",
    ]) {
        let fix = "to exclude namespace tenant, which has 7000 of them, set the label locksmith.dev/opt-out on it";
        assert!(note.contains(limit) && note.ends_with(fix), "{note}");
    }
}

#[test]
fn only_suspend_sources_holds() {
    let mut holds = holding(1);
    holds.step = StepName::ResumeSources;
    assert_eq!(note(vec![holds]), "resumeSources: must not hold anything");
}

#[test]
fn source_stands_once_in_a_hold() {
    let mut holds = holding(1);
    let names = holds.sources.values_mut().next().unwrap();
    names.push(names[0].clone());
    assert_eq!(
        note(vec![holds, step(StepName::ResumeSources, Vec::new())]),
        "suspendSources: namespace-0/application-0 is listed twice or has no name"
    );
}
