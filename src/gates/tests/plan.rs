//! Gates that depend on the plan.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::Case;
use crate::api::ObjectKind;
use crate::api::Plan;
use crate::api::remediation::{Approval, Decision, EvidenceRecord};
use crate::api::volsync::temporary_name;
use crate::config::{DeleteScope, Percent};
use crate::model::fixture::*;

/// This number of failed snapshots, and of sources.
fn failures(snapshots: usize, sources: usize) -> Case {
    let world = (0..sources).fold(World::rook(), |world, n| {
        world
            .with(source("media", &format!("a{n}")))
            .with(claim("media", &format!("a{n}")))
    });
    let world = (0..snapshots).fold(world, |world, n| {
        let failed = snapshot("media", &temporary_name(&format!("a{n}")), &format!("a{n}"))
            .unready()
            .created(at(-15));
        // The driver was called for it.
        world.with(content(&failed)).with(failed)
    });
    Case::of(world).set(|case| {
        // Without sources, no snapshot is VolSync's.
        case.config.steps.delete_failed_snapshots.scope = DeleteScope::All;
        case.plan = case.planned();
    })
}

#[rstest]
#[case::few(failures(2, 4), &[])]
#[case::more_than_the_share(failures(3, 5), &["blastRadius"])]
#[case::one_of_the_only_source(failures(1, 1), &[])]
#[case::two_of_the_only_two(failures(2, 2), &["blastRadius"])]
#[case::one_without_any_source(failures(1, 0), &[])]
#[case::two_without_any_source(failures(2, 0), &["blastRadius"])]
#[case::as_many_as_allowed(failures(50, 100), &[])]
#[case::more_than_allowed(failures(51, 200), &["blastRadius"])]
#[case::without_a_plan(Case::jam().set(|case| case.plan = None), &["blastRadius"])]
#[case::none_allowed_none_asked_for(
    failures(1, 4).set(|case| {
        case.config.gates.max_deletions = 0;
        case.config.gates.max_deletions_share = Percent::new(0);
        case.plan = Some(Plan::new(DRIVER.into(), Vec::new(), at(0)));
    }),
    &[]
)]
fn blast_radius_limits_deletions(#[case] case: Case, #[case] closed: &[&str]) {
    assert_eq!(case.closed(), closed);
}

/// The limit is per run: deletions of the first attempt count in the second.
#[test]
fn earlier_deletions_of_the_run_count() {
    let mut case = failures(2, 4).set(|case| case.config.gates.max_deletions = 3);
    let kept = |name: &str| EvidenceRecord {
        object: snapshot("media", name, "a0")
            .meta
            .key(ObjectKind::VolumeSnapshot),
        resource_version: "7".to_owned(),
        content: "{}".to_owned(),
    };
    let evidence = &mut case.run.status.get_or_insert_default().evidence;
    evidence.extend([kept("volsync-a0-src"), kept("earlier")]);
    case.config.gates.max_deletions_share = Percent::new(100);
    assert_eq!(
        case.closed(),
        Vec::<String>::new(),
        "a0's is planned, and counts once"
    );
    let evidence = &mut case.run.status.get_or_insert_default().evidence;
    evidence.push(kept("earlier still"));
    assert_eq!(case.closed(), ["blastRadius"]);
}

/// A playbook that requires approval, with an optional decision about the plan.
fn asked<S: Into<Option<Approval>>>(said: impl FnOnce(&Plan) -> S) -> Case {
    let mut case = Case::jam();
    let playbook = case.config.playbooks.0.get_mut("csi-operation-locks");
    playbook.unwrap().approval = true;
    case.run.spec.approval = said(case.plan.as_ref().unwrap()).into();
    case
}

/// A decision of ada about this plan at this time.
fn said(decision: Decision, plan: &Plan, at: impl Into<Option<Timestamp>>) -> Approval {
    Approval {
        decision,
        plan: plan.hash.clone(),
        at: at.into(),
        by: Some("ada".to_owned()),
    }
}

/// An approval is valid for a day.
fn a_day_ago_but(seconds: i64) -> Timestamp {
    at(-24 * 60) + SignedDuration::from_secs(seconds)
}

use Decision::{Approved, Rejected};

#[rstest]
#[case::without_a_decision(asked(|_| None::<Approval>), "plan ")]
#[case::rejected(asked(|plan| said(Rejected, plan, at(-1))), "ada rejected plan ")]
#[case::without_a_time(asked(|plan| said(Approved, plan, None)), "the approval by ada ")]
#[case::a_day_ago(asked(|plan| said(Approved, plan, a_day_ago_but(0))), "the approval by ada is older than gates.approvalLasts (1day)")]
#[case::in_time_to_come(asked(|plan| said(Approved, plan, at(6))), "the approval by ada is dated in the future (2026-11-01T02:06:00Z)")]
#[case::of_another_plan(
    asked(|plan| {
        let other = Plan { hash: "another".to_owned(), ..plan.clone() };
        said(Approved, &other, at(-1))
    }),
    "ada decided on plan another, but the plan is now "
)]
#[case::by_a_playbook_that_is_gone(
    asked(|plan| said(Approved, plan, at(-1))).set(|case| case.run.spec.playbook = "gone".to_owned()),
    "the playbook is not in the configuration"
)]
fn plan_requires_approval(#[case] case: Case, #[case] reason: &str) {
    assert_eq!(case.closed(), ["approval"]);
    let answer = case.answer("approval");
    assert!(answer.reason.starts_with(reason), "{answer:?}");
    assert_eq!(answer.opens_when, "after: locksmith approve mine");
}

#[rstest]
#[case::just_now(at(0))]
#[case::nearly_a_day_ago(a_day_ago_but(1))]
#[case::by_a_clock_that_is_a_little_ahead(at(5))]
fn approval_opens_the_gate(#[case] when: Timestamp) {
    let case = asked(|plan| said(Approved, plan, when));
    assert!(case.closed().is_empty(), "{:?}", case.answer("approval"));
}

#[test]
fn missing_plan_is_not_approved() {
    let case = asked(|plan| said(Approved, plan, at(-1))).set(|case| case.plan = None);
    assert_eq!(case.closed(), ["blastRadius", "approval"]);
}

/// The hash covers the changes, and not the time of the plan.
#[test]
fn approval_is_valid_for_an_unchanged_plan_only() {
    let mut case = asked(|plan| said(Approved, plan, at(-1)));
    case.now = at(1);
    case.plan = case.planned();
    assert!(case.closed().is_empty(), "{:?}", case.answer("approval"));

    let one_more = snapshot("selfhosted", "volsync-wiki-src", "wiki").unready();
    let mut case = case.with(one_more.created(at(-31)));
    case.config.gates.max_deletions_share = Percent::new(100);
    case.plan = case.planned();
    assert_eq!(case.closed(), ["approval"]);
    let reason = case.answer("approval").reason;
    assert!(reason.starts_with("ada decided on plan "), "{reason}");
}

/// A person who requests a run gets exactly the plan they were shown.
#[test]
fn approval_by_hash_is_valid_for_that_plan_only() {
    let named = |plan: String| {
        Case::jam().set(|case| {
            case.run.spec.approval = Some(Approval {
                decision: Decision::Approved,
                plan,
                at: Some(at(-15)),
                by: Some("somebody".to_owned()),
            });
        })
    };
    let shown = Case::jam().plan.unwrap().hash;
    assert_eq!(named(shown).closed(), [""; 0]);
    assert_eq!(named("another".to_owned()).closed(), ["approval"]);
}
