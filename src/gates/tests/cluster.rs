//! Gates that depend on the state of the cluster.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::Case;
use crate::config::{Duration, Percent};
use crate::model::fixture::*;
use crate::model::records::{CephCluster, Volume};
use crate::model::{Answer, Change, Delta, Kind, WatchState};
use crate::plan::make;

#[rstest]
#[case::nothing_is_stuck(Case::of(World::rook()))]
#[case::finding_of_another_driver(
    Case::of(World::rook().with(claim("media", "a").class("ceph-filesystem").pending()))
)]
#[case::held_source_is_not_stuck(
    Case::of(World::rook().with(claim("media", "a")).with(source("media", "a")).with(hold("old", at(60), &[&source("media", "a")])))
)]
fn alert_requires_a_finding_of_its_driver(#[case] case: Case) {
    assert_eq!(case.closed(), ["confirmed", "minimumAge"]);
}

#[rstest]
#[case::deletes_orphans("orphaned-sources", &[])]
#[case::does_not("csi-operation-locks", &["confirmed", "minimumAge"])]
fn orphan_without_driver_confirms_its_deletion(#[case] playbook: &str, #[case] closed: &[&str]) {
    let world = World::rook()
        .with(source("media", "kept"))
        .with(claim("media", "kept"))
        .with(source("media", "lost"))
        .not_found("media", "lost", &[at(-15), at(-8), at(-1)]);
    let mut case = Case::of(world);
    let findings = case.world.found(&case.config, case.now);
    let playbook = &case.config.playbooks.0[playbook];
    case.plan = make(
        &case.world.0,
        &findings,
        playbook,
        &DRIVER.into(),
        &case.config,
        case.now,
    )
    .ok();
    assert_eq!(case.closed(), closed);
}

#[test]
fn missing_snapshotter_closes_the_gate() {
    let hangs = snapshot("media", "s", "a")
        .without_status()
        .created(at(-15));
    let mut world = World::jam().with(content(&hangs).unseen()).with(hangs);
    for suffix in ["leadr", "stdby"] {
        let mut pod = replica(PROVISIONER, "7d9f8b6c5d", suffix);
        pod.sidecars.as_mut().unwrap().containers =
            ["csi-provisioner".into(), "csi-rbdplugin".into()].into();
        world = world.with(pod);
    }
    let mut case = Case::of(world).with(lease(SNAPSHOTTER_LEASE, "", at(-1)));
    case.config.gates.max_deletions_share = Percent::new(100);
    assert_eq!(case.closed(), ["snapshotter"]);
}

/// The jam, evaluated when its oldest finding is this old, and the configured minimum age.
fn stood(minutes: i64, seconds: i64, wanted: u64) -> Case {
    let mut case = Case::jam();
    let found = case.world.found(&case.config, case.now);
    let oldest = found.iter().map(|finding| finding.since).min().unwrap();
    case.now = oldest + SignedDuration::from_secs(minutes * 60 + seconds);
    case.config.gates.minimum_age = Duration::from_secs(wanted * 60);
    case
}

#[rstest]
#[case::a_second_too_short(stood(35, -1, 35), &["minimumAge"])]
#[case::just_long_enough(stood(35, 0, 35), &[])]
#[case::longer(stood(35, 1, 35), &[])]
#[case::no_age_is_wanted(stood(35, 0, 0), &[])]
#[case::huge_age(
    Case::jam().set(|case| case.config.gates.minimum_age = Duration(std::time::Duration::MAX)),
    &["minimumAge"]
)]
fn minimum_age_is_required(#[case] case: Case, #[case] closed: &[&str]) {
    assert_eq!(case.closed(), closed);
}

#[test]
fn minimum_age_gate_names_its_opening_time() {
    let case = stood(35, -1, 35);
    let opens = case.now + SignedDuration::from_secs(1);
    assert_eq!(
        case.answer("minimumAge").opens_when,
        format!("at {opens:.0}")
    );
}

/// The given number of seconds before the evaluation. Volumes count for a minute.
fn ago(seconds: i64) -> Timestamp {
    at(0) - SignedDuration::from_secs(seconds)
}

#[rstest]
#[case::just_now(&[volume("pv", DRIVER, ago(59))], &["progress"])]
#[case::a_minute_ago(&[volume("pv", DRIVER, ago(60))], &[])]
#[case::of_another_driver(&[volume("pv", OTHER_DRIVER, ago(1))], &[])]
#[case::by_a_clock_that_is_ahead(&[volume("pv", DRIVER, ago(-1))], &["progress"])]
#[case::the_latest_counts(
    &[volume("a", DRIVER, ago(900)), volume("b", DRIVER, ago(3)), volume("c", DRIVER, ago(700))],
    &["progress"]
)]
fn working_provisioner_closes_the_gate(#[case] made: &[Volume], #[case] closed: &[&str]) {
    let jam = Case::jam();
    let case = made.iter().cloned().fold(jam, Case::with);
    assert_eq!(case.closed(), closed);
}

/// A temporary volume of a VolSync mover exists for seconds.
#[test]
fn deleted_volume_shows_progress() {
    let gone = Delta::Delete {
        namespace: "".into(),
        name: "pv".into(),
    };
    let case = Case::jam()
        .with(volume("pv", DRIVER, ago(59)))
        .with(Change::Volume(gone));
    assert_eq!(case.closed(), ["progress"]);
}

#[rstest]
#[case::just_now(ago(59), &["progress"])]
#[case::a_minute_ago(ago(60), &[])]
fn working_snapshotter_closes_the_gate(#[case] taken: Timestamp, #[case] closed: &[&str]) {
    let backup = snapshot("selfhosted", "volsync-wiki-src", "wiki");
    let case = Case::jam().with(content(&backup).handle("csi-wiki").taken(taken));
    assert_eq!(case.closed(), closed);
}

#[test]
fn progress_gate_names_the_object_and_its_expiry() {
    let case = Case::jam().with(volume("pv", DRIVER, ago(59)));
    let answer = case.answer("progress");
    assert!(answer.reason.contains("PersistentVolume pv"), "{answer:?}");
    let opens = "at 2026-11-01T02:00:01Z, unless another is created";
    assert_eq!(answer.opens_when, opens);
}

fn ceph(name: &str, health: Option<&str>) -> Change {
    Change::CephCluster(Delta::Apply(CephCluster {
        namespace: "rook-ceph".into(),
        name: name.into(),
        health: health.map(Into::into),
    }))
}

#[rstest]
#[case::there_is_none(&[], &[])]
#[case::well(&[("a", Some("HEALTH_OK"))], &[])]
#[case::well_enough(&[("a", Some("HEALTH_WARN"))], &[])]
#[case::ill(&[("a", Some("HEALTH_ERR"))], &["cephHealth"])]
#[case::without_health(&[("a", None)], &["cephHealth"])]
#[case::one_of_two_is_ill(&[("a", Some("HEALTH_OK")), ("b", Some("HEALTH_ERR"))], &["cephHealth"])]
#[case::unknown_health(&[("a", Some("HEALTHY"))], &["cephHealth"])]
fn accepted_ceph_health_opens_the_gate(
    #[case] clusters: &[(&str, Option<&str>)],
    #[case] closed: &[&str],
) {
    let clusters = clusters.iter().map(|(name, health)| ceph(name, *health));
    assert_eq!(clusters.fold(Case::jam(), Case::with).closed(), closed);
}

#[test]
fn accepted_ceph_health_is_configurable() {
    let ill = || Case::jam().with(ceph("a", Some("HEALTH_ERR")));
    let reason = "CephCluster rook-ceph/a is HEALTH_ERR";
    assert_eq!(ill().answer("cephHealth").reason, reason);
    let allowed = ill().set(|case| case.config.gates.ceph_health = vec!["HEALTH_ERR".to_owned()]);
    assert!(allowed.closed().is_empty());
    let warned = Case::jam().with(ceph("a", Some("HEALTH_WARN")));
    let warned = warned.set(|case| case.config.gates.ceph_health = vec!["HEALTH_OK".to_owned()]);
    assert_eq!(warned.closed(), ["cephHealth"]);
}

/// Queried every 30 s by default, so a result is valid for 90 s.
#[rstest]
#[case::returns_nothing(Some((Ok(0), 1)), &[])]
#[case::result_of_the_maximum_age(Some((Ok(0), 90)), &[])]
#[case::stale_result(Some((Ok(0), 91)), &["promql"])]
#[case::returns_series(Some((Ok(2), 1)), &["promql"])]
#[case::query_failed(Some((Err("503".to_owned()), 1)), &["promql"])]
#[case::never_asked(None, &["promql"])]
fn empty_promql_result_opens_the_gate(
    #[case] answer: Option<(Result<usize, String>, i64)>,
    #[case] closed: &[&str],
) {
    let expression = "up == 0".to_owned();
    let mut case = Case::jam();
    let asked = [("down".to_owned(), expression.clone())];
    case.config.gates.promql = asked.into();
    if let Some((series, seconds)) = answer {
        let at = ago(seconds);
        case = case.with(Change::Answered(expression, Answer { at, series }));
    }
    assert_eq!(case.closed(), closed);
    let named = case.answer("promql").reason.starts_with("down ");
    assert_eq!(named, !closed.is_empty());
}

#[test]
fn one_promql_series_closes_the_gate() {
    let mut case = Case::jam();
    let asked = ["a", "b"].map(|name| (name.to_owned(), format!("{name} > 1")));
    case.config.gates.promql = asked.into();
    for (expression, series) in [("a > 1", 0), ("b > 1", 3)] {
        let (at, series) = (ago(1), Ok(series));
        case = case.with(Change::Answered(
            expression.to_owned(),
            Answer { at, series },
        ));
    }
    assert_eq!(case.answer("promql").reason, "b returns 3 series");
}

/// Attack: a claim that can never be Bound, with Events that report a lock, so that all sources are held and the
/// provisioner is restarted. Defence: without a report by the driver itself, nothing that others use is changed.
#[rstest]
#[case::a_claim(World::rook().with(claim("tenant", "mine").pending()), &["confirmed"])]
#[case::with_an_event(
    World::rook().with(claim("tenant", "mine").pending())
        .refused("pvc-uid-claim-tenant-mine", event_on("tenant", "mine"), at(-15), at(-1)),
    &["confirmed"]
)]
#[case::and_a_snapshot_no_driver_was_asked_for(
    World::rook().with(claim("tenant", "mine").pending()).with(source("tenant", "mine"))
        .with(snapshot("tenant", "volsync-mine-src", "gone").error(crate::csi::ErrorClass::SourceMissing).created(at(-30))),
    &["confirmed"]
)]
#[case::and_the_leaders_log(
    World::rook().with(source("media", "kept")).with(claim("media", "kept")).with(claim("tenant", "mine").pending())
        .refused("pvc-uid-claim-tenant-mine", log_of(LEADER_UID), at(-15), at(-1)),
    &[]
)]
fn forged_findings_confirm_nothing(#[case] world: World, #[case] closed: &[&str]) {
    let case = Case::of(world);
    let found: Vec<_> = case.closed();
    assert!(
        closed
            .iter()
            .all(|gate| found.contains(&(*gate).to_owned())),
        "{found:?}"
    );
    assert_eq!(found.contains(&"confirmed".to_owned()), !closed.is_empty());
}

fn policy(difference: Option<&str>) -> Change {
    let mut policy = hold_policy();
    policy.difference = difference.map(Into::into);
    policy.into()
}

fn binding(namespace: &str, difference: Option<&str>) -> Change {
    let mut binding = hold_binding();
    binding.namespace = namespace.into();
    binding.difference = difference.map(Into::into);
    binding.into()
}

fn removed(name: &str) -> (crate::api::SharedStr, crate::api::SharedStr) {
    ("".into(), name.into())
}

/// Without an enforced policy a hold has no effect, and the gate names the command that installs it.
#[rstest]
#[case::as_it_ships(policy(None), None)]
#[case::older(
    policy(Some("is version 0, but this build needs 1")),
    Some("is version 0")
)]
#[case::edited(
    policy(Some("was edited: spec.validations differs from the shipped one")),
    Some("spec.validations")
)]
#[case::binding_edited(
    binding(
        "locksmith",
        Some("was edited: spec.validationActions differs from the shipped one")
    ),
    Some("spec.validationActions")
)]
#[case::bound_elsewhere(binding("elsewhere", None), Some("namespace elsewhere"))]
#[case::policy_missing(
    { let (namespace, name) = removed("locksmith-snapshot-hold"); Change::HoldPolicy(Delta::Delete { namespace, name }) },
    Some("there is no ValidatingAdmissionPolicy ")
)]
#[case::binding_missing(
    { let (namespace, name) = removed("locksmith-snapshot-hold"); Change::HoldBinding(Delta::Delete { namespace, name }) },
    Some("there is no ValidatingAdmissionPolicyBinding ")
)]
#[case::not_served(
    Change::Read(Kind::HoldPolicy, WatchState::NotServed, at(0)),
    Some("the API server does not serve ValidatingAdmissionPolicy")
)]
#[case::unreadable(Change::Read(Kind::HoldBinding, WatchState::Failing("403".to_owned()), at(0)), Some("cannot be read (403)"))]
#[case::without_the_crd(
    Change::Read(Kind::SnapshotHolds, WatchState::NotServed, at(0)),
    Some("the API server does not serve SnapshotHold")
)]
fn missing_hold_policy_closes_the_gate(#[case] change: Change, #[case] expected: Option<&str>) {
    let mut case = Case::jam();
    case.world = case.world.with(change);
    let answer = case
        .answers()
        .into_iter()
        .find(|gate| gate.gate == "holdPolicy")
        .unwrap();
    match expected {
        None => assert!(answer.open, "{answer:?}"),
        Some(reason) => {
            assert!(answer.reason.contains(reason), "{answer:?}");
            assert!(
                answer
                    .opens_when
                    .contains("locksmith crd -n locksmith | kubectl apply"),
                "{answer:?}"
            );
        }
    }
}

/// A playbook without holds needs no policy.
#[test]
fn plan_without_holds_needs_no_hold_policy() {
    let mut case = Case::jam();
    let (namespace, name) = removed("locksmith-snapshot-hold");
    case.world = case
        .world
        .with(Change::HoldPolicy(Delta::Delete { namespace, name }));
    let mut plan = case.plan.clone().unwrap();
    plan.steps
        .retain(|step| step.step != crate::api::StepName::SuspendSources);
    case.plan = Some(plan);
    assert!(
        !case.closed().contains(&"holdPolicy".to_owned()),
        "{:?}",
        case.closed()
    );
}
