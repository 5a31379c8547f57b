//! The verdict's checks: what fails each, and what only looks as if it did.

use rstest::rstest;

use crate::api::remediation::{CheckRecord, RemediationStatus, StepPhase, StepRecord};
use crate::api::{ObjectKind, SharedStr};
use crate::api::{Plan, SkipReason, Skipped, StepName};
use crate::config::Config;
use crate::csi::ErrorClass;
use crate::model::fixture::*;
use crate::model::records::{Pod, Snapshot};
use crate::model::rows_read;
use crate::plan::{self};
use crate::run_context::{LiveState, RunContext, TailRefusal};
use crate::steps::verdict::{Judged, Outcome};

fn planned() -> Plan {
    let config = Config::default();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let world = World::jam();
    let findings = world.found(&config, at(-1));
    plan::make(
        &world.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &config,
        at(-1),
    )
    .unwrap()
}

/// Everything healed.
fn healed() -> World {
    World::rook()
        .with(claim("media", "prowlarr"))
        .with(source("media", "prowlarr"))
        .with(pod("media", "prowlarr-0", &["prowlarr"]))
}

fn nothing() -> LiveState {
    LiveState {
        at: at(0),
        snapshots: Ok(Vec::new()),
        refusals: Some(Ok(Vec::new())),
        proof: None,
    }
}

fn refused(keys: &[&str]) -> LiveState {
    let refusal = |text: &&str| TailRefusal {
        pod: LEADER.into(),
        key: key(text),
    };
    LiveState {
        refusals: Some(Ok(keys.iter().map(refusal).collect())),
        ..nothing()
    }
}

fn with(snapshots: Vec<Snapshot>) -> LiveState {
    LiveState {
        snapshots: Ok(snapshots),
        ..nothing()
    }
}

fn checks(world: &World, facts: &LiveState, plan: &Plan, left: Vec<Skipped>) -> Vec<CheckRecord> {
    judged(world, facts, plan, left).0
}

/// Judges a run whose last step ended at two.
fn judged(
    world: &World,
    facts: &LiveState,
    plan: &Plan,
    left: Vec<Skipped>,
) -> (Vec<CheckRecord>, Outcome) {
    let config = Config::default();
    let findings = world.found(&config, at(0));
    let status = RemediationStatus {
        steps: vec![StepRecord {
            step: StepName::DeleteFailedSnapshots,
            attempt: 1,
            phase: StepPhase::Succeeded,
            started_at: at(-5),
            finished_at: Some(at(-4)),
            acted_at: None,
            replaced_at: None,
            message: String::new(),
            skipped: left,
            progress: None,
        }],
        ..RemediationStatus::default()
    };
    let mut run = run("mine");
    run.status = Some(status);
    let judged = Judged {
        cx: &RunContext::new(&run, &world.0, &findings, &config, Some(facts), at(0)),
        plan,
        live: facts,
        ended: at(0),
    };
    (judged.checks(), judged.outcome())
}

/// Names of the checks that have not passed; that nothing waits has a table of its own.
fn failed(world: &World, facts: &LiveState) -> Vec<String> {
    let checks = checks(world, facts, &planned(), Vec::new());
    assert_eq!(checks.len(), 4, "all are shown");
    checks
        .into_iter()
        .filter(|check| !check.passed && check.check != "nothing waits")
        .map(|check| check.check)
        .collect()
}

/// Asked for while the run was at work, and not accepted by the driver.
fn asked(minute: i64) -> Snapshot {
    snapshot("selfhosted", "volsync-wiki-src", "wiki")
        .without_status()
        .created(at(minute))
}

#[rstest]
#[case::nothing(healed(), nothing(), true)]
#[case::a_claim(healed().with(claim("media", "x").pending().created(at(-1))), nothing(), false)]
#[case::a_claim_of_another_driver(
    healed().with(claim("media", "x").class("ceph-filesystem").pending().created(at(-1))), nothing(), true
)]
#[case::a_claim_that_nothing_can_fill(
    healed().with(claim("media", "x").pending().from_snapshot("gone").created(at(-1))), nothing(), true
)]
#[case::a_claim_asked_for_after_the_last_step(
    healed().with(claim("media", "x").pending().created(at(1))), nothing(), true
)]
#[case::a_snapshot(healed().with(content(&asked(-1))), with(vec![asked(-1)]), false)]
#[case::a_snapshot_that_is_ready_by_now(
    healed().with(content(&asked(-1)).handle("csi-1")),
    with(vec![snapshot("selfhosted", "volsync-wiki-src", "wiki").created(at(-1))]),
    true
)]
#[case::a_snapshot_that_the_driver_has_accepted(
    healed().with(content(&asked(-1)).handle("csi-1")), with(vec![asked(-1)]), true
)]
#[case::a_snapshot_of_a_claim_without_a_volume(
    healed().with(content(&asked(-1)).error(ErrorClass::SourceUnbound)), with(vec![asked(-1)]), true
)]
#[case::a_snapshot_of_another_driver(
    healed().with(content(&asked(-1)).driver(OTHER_DRIVER)), with(vec![asked(-1)]), true
)]
#[case::a_snapshot_asked_for_after_the_last_step(
    healed().with(content(&asked(1))), with(vec![asked(1)]), true
)]
#[case::a_list_that_failed(
    healed(), LiveState { snapshots: Err("403".to_owned()), ..nothing() }, false
)]
fn nothing_waits(#[case] world: World, #[case] facts: LiveState, #[case] passes: bool) {
    let checks = checks(&world, &facts, &planned(), Vec::new());
    let check = checks.iter().find(|check| check.check == "nothing waits");
    assert_eq!(check.unwrap().passed, passes, "{check:?}");
}

fn outcome(world: &World, plan: &Plan) -> Outcome {
    judged(world, &nothing(), plan, Vec::new()).1
}

/// A plan about what hangs, and nothing else.
fn planned_for(world: &World, playbook: &str) -> Plan {
    let config = Config::default();
    let findings = world.found(&config, at(-1));
    let playbook = &config.playbooks.0[playbook];
    plan::make(
        &world.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &config,
        at(-1),
    )
    .unwrap()
}

/// The restored claim, Bound.
fn restored() -> World {
    healed().with(claim("media", "sonarr").created(at(-32)))
}

#[rstest]
#[case::the_locks_are_gone_and_the_claim_is_bound(restored(), Outcome::Healed)]
#[case::the_locks_are_gone_and_so_is_the_claim(healed(), Outcome::Repaired)]
fn outcome_of_a_run_about_locks(#[case] world: World, #[case] expected: Outcome) {
    assert!(!planned().locks.is_empty());
    assert_eq!(outcome(&world, &planned()), expected);
}

/// One failed snapshot that no lock is found for.
fn failing() -> World {
    healed()
        .with(content(&hangs()).error(ErrorClass::Timeout))
        .with(hangs())
}

#[rstest]
#[case::deleted(healed(), Outcome::Healed)]
#[case::ready(healed().with(hangs_no_more()), Outcome::Healed)]
#[case::accepted(failing().with(content(&hangs()).handle("csi-1")), Outcome::Healed)]
#[case::as_before(failing(), Outcome::Nothing)]
fn outcome_of_a_run_about_failed_snapshots(#[case] world: World, #[case] expected: Outcome) {
    let plan = planned_for(&failing(), "failed-snapshots");
    assert!(plan.locks.is_empty());
    assert_eq!(outcome(&world, &plan), expected);
}

fn hangs_no_more() -> Snapshot {
    snapshot("media", "volsync-prowlarr-src", "prowlarr").created(at(-31))
}

/// No lock was found and no snapshot could be deleted: a claim that is Bound is a success only where it had been stuck.
#[rstest]
#[case::that_had_been_pending_for_long(-12, Outcome::Healed)]
#[case::that_is_always_bound_within_seconds(-2, Outcome::Nothing)]
fn a_claim_counts_as_repaired(#[case] created: i64, #[case] expected: Outcome) {
    let sonarr = || claim("media", "sonarr").created(at(created));
    let plan = planned_for(&healed().with(sonarr().pending()), "csi-operation-locks");
    assert!(plan.locks.is_empty());
    assert_eq!(outcome(&healed().with(sonarr()), &plan), expected);
}

fn hangs() -> Snapshot {
    snapshot("media", "volsync-prowlarr-src", "prowlarr")
        .unready()
        .created(at(-31))
}

fn restore() -> World {
    let image = snapshot("media", "image", "prowlarr");
    healed()
        .with(content(&image).handle("csi-image"))
        .with(image)
}

#[rstest]
#[case::nothing_is_wrong(healed(), nothing(), &[])]
#[case::a_claim_that_waits(
    healed().with(claim("media", "x").pending()), refused(&["pvc-uid-claim-media-x"]), &["no lock errors"]
)]
#[case::a_claim_bound_since(healed().with(claim("media", "x")), refused(&["pvc-uid-claim-media-x"]), &[])]
#[case::a_claim_gone_since(healed(), refused(&["pvc-uid-claim-media-x"]), &[])]
#[case::a_snapshot_that_waits(
    healed().with(hangs().created(at(-1))), refused(&[&format!("snapshot-{}", hangs().meta.uid)]), &["no lock errors"]
)]
#[case::a_snapshot_ready_since(
    healed().with(snapshot("media", "s", "a")), refused(&["snapshot-uid-snapshot-media-s"]), &[]
)]
#[case::the_handle_of_a_volume_that_is_only_being_deleted(healed(), refused(&["0001-0009"]), &[])]
#[case::the_handle_of_a_snapshot_that_nothing_but_its_storage_remembers(
    healed().with(content(&snapshot("media", "image", "prowlarr")).handle("csi-image")),
    refused(&["csi-image"]),
    &[]
)]
#[case::the_handle_of_a_volume_a_snapshot_is_taken_of(
    healed().with(hangs().created(at(-1))).with(content(&hangs())),
    refused(&["volume-of-volsync-prowlarr-src"]),
    &["no lock errors"]
)]
#[case::the_handle_of_a_snapshot_nobody_waits_for(restore(), refused(&["csi-image"]), &[])]
#[case::the_handle_of_a_snapshot_a_restore_waits_for(
    restore().with(claim("media", "x").pending().from_snapshot("image")), refused(&["csi-image"]), &["no lock errors"]
)]
#[case::the_handle_of_a_snapshot_that_does_not_go(
    restore().with(content(&snapshot("media", "image", "prowlarr")).handle("csi-image").deleting(at(-1))),
    refused(&["csi-image"]),
    &["no lock errors"]
)]
#[case::a_lock_that_is_found(
    healed().with(hangs()).with(content(&hangs()).error(ErrorClass::Locked(key("volume-of-x")))),
    nothing(),
    &["no lock errors"]
)]
#[case::logs_that_cannot_be_read(
    healed(), LiveState { refusals: Some(Err("403".to_owned())), ..nothing() }, &["no lock errors"]
)]
#[case::logs_that_nobody_has_read(
    healed(), LiveState { refusals: None, ..nothing() }, &["no lock errors"]
)]
fn lock_errors(#[case] world: World, #[case] facts: LiveState, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &facts), expected);
}

/// A driver of which neither the configuration nor a preset names the log's container: every run that restarted its provisioner
/// failed.
#[test]
fn driver_without_a_known_log_is_verified_by_statuses() {
    const LOGLESS: &str = "csi.example.com";
    let plan = Plan {
        driver: LOGLESS.into(),
        ..planned()
    };
    let checks = checks(&healed(), &nothing(), &plan, Vec::new());
    let check = checks
        .iter()
        .find(|check| check.check == "no lock errors")
        .unwrap();
    assert!(check.passed, "{check:?}");
    assert!(check.message.contains("is not read"), "{check:?}");
}

/// A tenant fills a log tail by restoring many snapshots: each line costs one look-up.
#[test]
fn verdict_reads_each_row_once_however_many_lines_refuse() {
    const SNAPSHOTS: usize = 2_000;
    let mut world = healed();
    let mut keys = Vec::new();
    for n in 0..SNAPSHOTS {
        let image = snapshot("tenant", &format!("image-{n}"), "prowlarr");
        let handle = format!("csi-{n}");
        world = world
            .with(content(&image).handle(&handle))
            .with(image)
            .with(claim("tenant", &format!("restore-{n}")));
        keys.push(handle);
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (facts, plan) = (refused(&keys), planned());
    let (rows, checks) = rows_read::during(|| checks(&world, &facts, &plan, Vec::new()));
    assert!(checks[0].passed, "{checks:?}");
    let bound = 20 * SNAPSHOTS as u64;
    assert!(rows <= bound, "{rows} rows read");
}

#[rstest]
#[case::one_that_was_to_be_deleted(healed(), with(vec![hangs()]), &["no failed snapshots"])]
#[case::one_that_is_going(healed(), with(vec![hangs().deleting(at(-1))]), &["no failed snapshots"])]
#[case::one_that_became_ready(healed(), with(vec![snapshot("media", "volsync-prowlarr-src", "prowlarr")]), &[])]
#[case::one_that_failed_since(
    healed().with(snapshot("media", "s", "a").unready().created(at(-15))),
    with(vec![snapshot("media", "s", "a").unready()]),
    &["no failed snapshots"]
)]
#[case::one_that_has_just_begun(healed(), with(vec![snapshot("media", "s", "a").unready()]), &[])]
#[case::one_of_another_driver(
    healed().with(snapshot("media", "s", "a").unready().class("csi-ceph-filesystem").created(at(-15))),
    with(vec![snapshot("media", "s", "a").unready()]),
    &[]
)]
#[case::a_list_that_failed(
    healed(), LiveState { snapshots: Err("403".to_owned()), ..nothing() }, &["no failed snapshots"]
)]
fn failed_snapshots(#[case] world: World, #[case] facts: LiveState, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &facts), expected);
}

#[test]
fn skipped_snapshots_do_not_fail_the_run() {
    let object = hangs().meta.key(ObjectKind::VolumeSnapshot);
    let left = vec![Skipped::new(object.clone(), SkipReason::Populating)];
    let facts = with(vec![hangs()]);
    assert!(checks(&healed(), &facts, &planned(), left)[1].passed);
    let mut plan = planned();
    let step = plan
        .steps
        .iter_mut()
        .find(|step| step.step == StepName::DeleteFailedSnapshots);
    let step = step.unwrap();
    step.targets.clear();
    step.skipped
        .push(Skipped::new(object, SkipReason::Populating));
    assert!(checks(&healed(), &facts, &plan, Vec::new())[1].passed);
}

fn app() -> Pod {
    pod("media", "prowlarr-0", &["prowlarr"])
}

#[rstest]
#[case::one_that_waits(healed().with(app().waiting()), &["apps running"])]
#[case::one_that_is_finished(healed().with(app().finished()), &[])]
#[case::one_that_goes(healed().with(app().waiting().deleting(at(-1))), &[])]
#[case::one_that_nobody_backs_up(healed().with(pod("media", "x", &["x"]).waiting()), &[])]
#[case::one_without_claims(healed().with(pod("media", "x", &[]).waiting()), &[])]
#[case::one_of_a_namespace_where_nothing_was_held(
    healed().with(source("rook-ceph", "x")).with(pod("rook-ceph", "x", &["x"]).waiting()),
    &[]
)]
#[case::none_at_all(
    healed().with(crate::model::Change::Pod(crate::model::Delta::Delete {
        namespace: "media".into(), name: SharedStr::from("prowlarr-0")
    })),
    &[]
)]
fn apps(#[case] world: World, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &nothing()), expected);
}

/// A plan lists only the first hundred skipped objects.
#[test]
fn skipped_snapshot_beyond_the_plan_list_is_exempt() {
    let kept = |number: usize| {
        let name = format!("kept-{number:0>4}");
        let failed = snapshot("media", &name, "prowlarr").error(ErrorClass::Timeout);
        failed.created(at(-60)).opted_out()
    };
    let (mut before, mut after, mut live) = (World::jam(), healed(), Vec::new());
    for number in 0..300 {
        before = before.with(kept(number));
        after = after.with(kept(number));
        live.push(kept(number));
    }
    let config = Config::default();
    let playbook = &config.playbooks.0["csi-operation-locks"];
    let findings = before.found(&config, at(-1));
    let driver = DRIVER.into();
    let plan = plan::make(&before.0, &findings, playbook, &driver, &config, at(-1)).unwrap();
    assert_eq!(
        plan.step(StepName::DeleteFailedSnapshots)
            .unwrap()
            .skipped
            .len(),
        plan::MAX_LISTED
    );
    let checks = checks(&after, &with(live), &plan, Vec::new());
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
