//! Gates that a person or a failure can close at any time.

use rstest::rstest;

use super::Case;
use crate::config::Mode;
use crate::model::fixture::*;
use crate::model::{Kind, WatchState};

#[rstest]
#[case(Mode::Observe, &["mode"])]
#[case(Mode::Plan, &["mode"])]
#[case(Mode::Act, &[])]
fn only_mode_act_opens_the_gate(#[case] mode: Mode, #[case] closed: &[&str]) {
    assert_eq!(
        Case::jam().set(|case| case.config.mode = mode).closed(),
        closed
    );
}

#[test]
fn standby_does_not_act() {
    let case = Case::jam().with(crate::model::Change::Leads(None));
    assert_eq!(case.closed(), ["leadership"]);
}

#[rstest]
#[case::on(Case::jam().with(namespace("locksmith").stopped()))]
#[case::namespace_not_seen(Case::of(World::jam().with(crate::model::Change::Namespace(
    crate::model::Delta::Delete { namespace: "".into(), name: "locksmith".into() }
))))]
fn kill_switch_closes_the_gate(#[case] case: Case) {
    assert_eq!(case.closed(), ["killSwitch"]);
}

/// Neither the annotation nor a hold could be found.
#[test]
fn run_without_namespace_never_starts() {
    let case = Case::jam().set(|case| case.run.metadata.namespace = None);
    assert_eq!(case.closed(), ["killSwitch", "holdPolicy"]);
}

#[test]
fn kill_switch_of_another_namespace_is_ignored() {
    assert!(
        Case::jam()
            .with(namespace("media").stopped())
            .closed()
            .is_empty()
    );
}

#[test]
fn unsynced_watch_closes_freshness() {
    // Gate `holdPolicy` reports a policy that cannot be read.
    let seen = |kind: &Kind| !matches!(kind, Kind::HoldPolicy | Kind::HoldBinding);
    for kind in Kind::ALL.into_iter().filter(seen) {
        for reading in [WatchState::Never, WatchState::Failing("403".to_owned())] {
            let case = Case::jam().set(|case| {
                case.world.0.freshness.note(kind, reading.clone(), at(0));
            });
            assert!(
                case.closed().contains(&"freshness".to_owned()),
                "{kind:?} {reading:?}"
            );
            let answer = case
                .answers()
                .into_iter()
                .find(|gate| gate.gate == "freshness");
            assert!(answer.unwrap().reason.contains(kind.as_str()));
        }
    }
}

#[test]
fn unserved_kind_does_not_close_freshness() {
    let case = Case::jam().set(|case| {
        case.world
            .0
            .freshness
            .note(Kind::ReplicationDestinations, WatchState::NotServed, at(0));
    });
    assert!(case.closed().is_empty());
}
