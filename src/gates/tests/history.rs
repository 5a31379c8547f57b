//! Gates that depend on earlier runs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rstest::rstest;

use super::Case;
use crate::api::Plan;
use crate::api::remediation::{Phase, Remediation};
use crate::config::{Config, Duration};
use crate::gates::{RESET_ANNOTATION, failures_in_a_row};
use crate::model::fixture::*;

/// A run of the same cause that ended at this time.
fn ended(name: &str, minutes: i64) -> Remediation {
    let mut run = run_in(name, Phase::Succeeded);
    let status = run.status.as_mut().unwrap();
    status.started_at = Some(at(minutes - 5));
    status.finished_at = Some(at(minutes));
    run
}

fn of_another_driver(mut run: Remediation) -> Remediation {
    run.spec.driver = OTHER_DRIVER.into();
    run
}

#[rstest]
#[case::running(run_in("other", Phase::Running), &["oneRun"])]
#[case::waiting(run_in("other", Phase::Pending), &[])]
#[case::over(run_in("other", Phase::Succeeded), &[])]
#[case::never_looked_at(run("other"), &[])]
#[case::of_another_driver(of_another_driver(run_in("other", Phase::Running)), &[])]
#[case::itself(run_in("mine", Phase::Running), &[])]
fn only_one_run_per_driver_acts(#[case] other: Remediation, #[case] closed: &[&str]) {
    assert_eq!(Case::jam().with(other).closed(), closed);
}

fn another_playbook(mut run: Remediation) -> Remediation {
    run.spec.playbook = "another".to_owned();
    run
}

fn never_begun(mut run: Remediation) -> Remediation {
    run.status.as_mut().unwrap().started_at = None;
    run
}

/// Created at this time of the API server's clock.
fn begun_at(mut run: Remediation, minutes: i64) -> Remediation {
    run.metadata.creation_timestamp = Some(Time(at(minutes)));
    run
}

#[rstest]
#[case::just_now(ended("other", -29), &["cooldown"])]
#[case::long_enough_ago(ended("other", -30), &[])]
#[case::of_another_driver(of_another_driver(ended("other", -1)), &[])]
#[case::of_another_playbook(another_playbook(ended("other", -1)), &[])]
#[case::that_never_began(never_begun(ended("other", -1)), &[])]
#[case::itself(ended("mine", -1), &[])]
#[case::dated_by_a_clock_that_was_an_hour_behind(begun_at(ended("other", -60), -5), &["cooldown"])]
fn finished_run_of_the_cause_starts_the_cooldown(
    #[case] other: Remediation,
    #[case] closed: &[&str],
) {
    assert_eq!(Case::jam().with(other).closed(), closed);
}

#[test]
fn latest_run_of_the_cause_counts() {
    let case = Case::jam()
        .with(ended("old", -300))
        .with(ended("new", -10))
        .with(ended("older", -900));
    assert_eq!(case.closed(), ["cooldown"]);
    let answer = case
        .answers()
        .into_iter()
        .find(|gate| gate.gate == "cooldown")
        .unwrap();
    assert_eq!(answer.opens_when, "at 2026-11-01T02:20:00Z");
}

#[test]
fn huge_cooldown_never_opens() {
    let case = Case::jam().with(ended("other", -300)).set(|case| {
        case.config.gates.cooldown = Duration(std::time::Duration::MAX);
    });
    assert_eq!(case.closed(), ["cooldown"]);
}

/// A run that started at this time, by default for another cause; its cooldown has passed.
fn begun(name: &str, at: Timestamp) -> Remediation {
    let mut run = of_another_driver(another_playbook(run_in(name, Phase::Succeeded)));
    let status = run.status.as_mut().unwrap();
    (status.started_at, status.finished_at) = (Some(at), Some(at));
    run
}

fn hours_ago(hours: i64) -> Timestamp {
    at(-60 * hours)
}

/// The jam after `runs` runs, started an hour apart, the latest an hour ago, with a budget of `allowed` for the cluster.
fn cluster(runs: i64, allowed: u32) -> Case {
    let mut case = Case::jam();
    case.config.gates.budgets.per_cluster = allowed;
    let earlier = (1..=runs).map(|n| begun(&n.to_string(), hours_ago(n)));
    earlier.fold(case, Case::with)
}

/// Runs with the same playbook or the same provisioner, as set by `set`.
fn alike(runs: i64, set: impl Fn(&mut Remediation, &Plan)) -> Case {
    let mut case = Case::jam();
    case.config.gates.cooldown = Duration::from_secs(1);
    case.config.gates.budgets.per_cluster = 100;
    let plan = case.plan.clone().unwrap();
    let earlier = (1..=runs).map(|n| {
        let mut run = begun(&n.to_string(), hours_ago(n));
        set(&mut run, &plan);
        run
    });
    earlier.fold(case, Case::with)
}

fn of_this_playbook(run: &mut Remediation, _: &Plan) {
    "csi-operation-locks".clone_into(&mut run.spec.playbook);
}

fn of_this_provisioner(run: &mut Remediation, plan: &Plan) {
    run.status.as_mut().unwrap().plan = Some(plan.clone());
}

#[rstest]
#[case::cluster_with_room(cluster(7, 8), &[])]
#[case::cluster_spent(cluster(8, 8), &["budget"])]
#[case::cluster_overspent(cluster(9, 8), &["budget"])]
#[case::none_allowed_at_all(cluster(0, 0), &["budget"])]
#[case::playbook_with_room(alike(3, of_this_playbook), &[])]
#[case::playbook_spent(alike(4, of_this_playbook), &["budget"])]
#[case::provisioner_with_room(alike(2, of_this_provisioner), &[])]
#[case::provisioner_spent(alike(3, of_this_provisioner), &["budget"])]
#[case::one_that_waits_has_spent_nothing(cluster(7, 8).with(never_begun(begun("w", at(-5)))), &[])]
#[case::one_at_work_counts_as_it_begins(
    cluster(7, 8).with({
        let mut run = begun("w", at(-5));
        run.status.as_mut().unwrap().finished_at = None;
        run
    }),
    &["budget"]
)]
#[case::itself(cluster(7, 8).with(begun("mine", at(-5))), &[])]
fn budget_limits_the_number_of_runs(#[case] case: Case, #[case] closed: &[&str]) {
    assert_eq!(case.closed(), closed);
}

#[rstest]
#[case::a_second_inside(1, &["budget"])]
#[case::a_day_ago(0, &[])]
fn run_counts_for_the_budget_period(#[case] seconds: i64, #[case] closed: &[&str]) {
    let begun = begun(
        "old",
        hours_ago(24) + jiff::SignedDuration::from_secs(seconds),
    );
    let case = Case::jam().set(|case| case.config.gates.budgets.per_cluster = 1);
    assert_eq!(case.with(begun).closed(), closed);
}

/// With three runs and two allowed, the two oldest must be too old to count before another one may start.
#[test]
fn budget_gate_names_its_opening_time() {
    let answer = cluster(3, 2).answer("budget");
    let reason = "3 runs in the cluster within 1day; 2 are allowed";
    assert_eq!(answer.reason, reason);
    assert_eq!(answer.opens_when, "at 2026-11-02T00:00:00Z");
}

#[test]
fn huge_budget_period_counts_every_run() {
    let case = cluster(8, 8).set(|case| {
        case.config.gates.budgets.within = Duration(std::time::Duration::MAX);
    });
    assert_eq!(case.closed(), ["budget"]);
}

/// Consecutive finished runs, the last of them a day and a half ago, so that no other gate is closed by them.
fn after(phases: &[Phase]) -> Case {
    let first = -2160 - 10 * i64::try_from(phases.len()).unwrap();
    let earlier = phases.iter().zip(0..).map(|(phase, n)| {
        let mut run = ended(&format!("r{n}"), first + 10 * n);
        run.status.as_mut().unwrap().phase = *phase;
        run
    });
    earlier.fold(Case::jam(), Case::with)
}

use Phase::{Aborted, Failed, Succeeded};

#[rstest]
#[case::none(&[], &[])]
#[case::two_failed(&[Failed, Failed], &[])]
#[case::three_failed(&[Failed, Failed, Failed], &["breaker"])]
#[case::more_than_three(&[Failed, Failed, Failed, Failed], &["breaker"])]
#[case::one_went_well_since(&[Failed, Failed, Failed, Succeeded], &[])]
#[case::one_went_well_between(&[Failed, Failed, Succeeded, Failed], &[])]
#[case::three_after_one_that_went_well(&[Succeeded, Failed, Failed, Failed], &["breaker"])]
#[case::a_person_ended_one_between(&[Failed, Failed, Aborted, Failed], &["breaker"])]
#[case::a_person_ended_all(&[Aborted, Aborted, Aborted], &[])]
fn breaker_trips_after_three_failures_in_a_row(#[case] phases: &[Phase], #[case] closed: &[&str]) {
    let case = after(phases);
    assert_eq!(case.closed(), closed);
    let failed = failures_in_a_row(&case.world.0);
    assert_eq!(
        failed >= case.config.gates.breaker_after,
        !closed.is_empty()
    );
}

/// Name of the run at which a person reset the breaker, of four failed ones.
#[rstest]
#[case::the_last("r3", &[])]
#[case::the_third("r2", &[])]
#[case::the_second("r1", &[])]
#[case::the_first("r0", &["breaker"])]
fn failures_before_a_reset_do_not_count(#[case] reset: &str, #[case] closed: &[&str]) {
    let case = after(&[Failed; 4]);
    let runs = &case.world.0.runs;
    let run = runs.get(&"locksmith".into(), &reset.into()).unwrap();
    let mut run = Remediation::clone(&run.object);
    run.metadata.annotations = Some([(RESET_ANNOTATION.to_owned(), "now".to_owned())].into());
    assert_eq!(case.with(run).closed(), closed);
}

#[test]
fn unstarted_run_is_no_failure() {
    let mut case = after(&[Failed, Failed]);
    for n in 0..3 {
        let mut waited = never_begun(ended(&format!("w{n}"), -2000));
        waited.status.as_mut().unwrap().phase = Failed;
        case = case.with(waited);
    }
    assert!(case.closed().is_empty());
}

/// Counts come from the objects, so the next process counts the same.
#[test]
fn restart_keeps_budget_and_breaker() {
    let case = |case: Case| {
        let mut runs: Vec<_> = case
            .world
            .0
            .runs
            .iter()
            .map(|run| run.object.clone())
            .collect();
        runs.reverse();
        let config = Config {
            ..case.config.clone()
        };
        let again = runs
            .into_iter()
            .fold(Case::jam(), |case, run| case.with(Remediation::clone(&run)));
        (
            case.closed(),
            again.set(|case| case.config = config).closed(),
        )
    };
    let (before, after_it) = case(cluster(8, 8));
    assert_eq!((&before, &before), (&after_it, &vec!["budget".to_owned()]));
    let (before, after_it) = case(after(&[Failed; 3]));
    assert_eq!((&before, &before), (&after_it, &vec!["breaker".to_owned()]));
}
