//! The verdict's checks: what fails each, and what only looks as if it did.

use rstest::rstest;

use crate::api::remediation::{CheckRecord, LeftRecord, RemediationStatus, StepPhase, StepRecord};
use crate::config::Config;
use crate::model::fixture::*;
use crate::model::records::{Pod, Snapshot};
use crate::model::{Nature, ObjectKind, Sym};
use crate::plan::{self, Plan, Spared, StepName};
use crate::steps::{Facts, TailRefusal, verdict};

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

fn nothing() -> Facts {
    Facts {
        at: at(0),
        snapshots: Ok(Vec::new()),
        refusals: Some(Ok(Vec::new())),
    }
}

fn refused(keys: &[&str]) -> Facts {
    let refusal = |text: &&str| TailRefusal {
        pod: LEADER.into(),
        key: key(text),
    };
    Facts {
        refusals: Some(Ok(keys.iter().map(refusal).collect())),
        ..nothing()
    }
}

fn with(snapshots: Vec<Snapshot>) -> Facts {
    Facts {
        snapshots: Ok(snapshots),
        ..nothing()
    }
}

fn checks(world: &World, facts: &Facts, plan: &Plan, left: Vec<LeftRecord>) -> Vec<CheckRecord> {
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
            quiet_since: None,
            known: None,
            message: String::new(),
            left,
        }],
        ..RemediationStatus::default()
    };
    verdict::judge(&status, plan, &world.0, &findings, facts, &config)
}

/// Names of the checks that have not passed.
fn failed(world: &World, facts: &Facts) -> Vec<String> {
    let checks = checks(world, facts, &planned(), Vec::new());
    assert_eq!(checks.len(), 3, "all are shown");
    checks
        .into_iter()
        .filter(|check| !check.passed)
        .map(|check| check.check)
        .collect()
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
#[case::a_handle_that_leads_nowhere(healed(), refused(&["0001-0009"]), &["no lock errors"])]
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
    healed().with(hangs()).with(content(&hangs()).error(Nature::Locked(key("volume-of-x")))),
    nothing(),
    &["no lock errors"]
)]
#[case::logs_that_cannot_be_read(
    healed(), Facts { refusals: Some(Err("403".to_owned())), ..nothing() }, &["no lock errors"]
)]
#[case::logs_that_nobody_has_read(
    healed(), Facts { refusals: None, ..nothing() }, &["no lock errors"]
)]
fn lock_errors(#[case] world: World, #[case] facts: Facts, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &facts), expected);
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
    healed(), Facts { snapshots: Err("403".to_owned()), ..nothing() }, &["no failed snapshots"]
)]
fn failed_snapshots(#[case] world: World, #[case] facts: Facts, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &facts), expected);
}

#[test]
fn what_was_left_alone_or_spared_does_not_fail_the_run() {
    let object = hangs().meta.key(ObjectKind::VolumeSnapshot);
    let why = "is in use by VolSync's populator".to_owned();
    let left = vec![LeftRecord {
        object: object.clone(),
        why: why.clone(),
    }];
    let facts = with(vec![hangs()]);
    assert!(checks(&healed(), &facts, &planned(), left)[1].passed);
    let mut plan = planned();
    let step = plan
        .steps
        .iter_mut()
        .find(|step| step.step == StepName::DeleteFailedSnapshots);
    let step = step.unwrap();
    step.targets.clear();
    step.spared.push(Spared { object, why });
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
    healed().with(crate::model::Change::Pod(crate::model::Delta::Remove {
        namespace: "media".into(), name: Sym::from("prowlarr-0")
    })),
    &[]
)]
fn apps(#[case] world: World, #[case] expected: &[&str]) {
    assert_eq!(failed(&world, &nothing()), expected);
}
