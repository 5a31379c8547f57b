//! The end of a restart: when a lease counts as taken over, and when one that names a dead holder is handed over.
//!
//! In each case the restart was asked for two minutes ago, every old pod had ended a minute ago, and both new pods are Ready.
//! The cases say
//! 1. who holds the provisioner's lease, since when, renewed when, and whether that completes the restart;
//! 2. how the old pods went, and whether their lease is handed over or waited for, and why.

use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;

use super::decisions::{ask, at_step, served};
use crate::api::StepName;
use crate::api::remediation::{EvidenceRecord, Remediation, RemediationStatus, StepPhase};
use crate::api::{ObjectKey, ObjectKind};
use crate::model::fixture::*;
use crate::model::records::{Lease, Pod};
use crate::model::{Change, Delta, Departures};
use crate::steps::{Intent, NextAction};

const RANDOM: &str = "1704123456789-6806-rook-ceph-rbd-csi-ceph-com";
const OTHER_RANDOM: &str = "1793498400000-17-rook-ceph-rbd-csi-ceph-com";
const OLD: &str = "csi-rbdplugin-provisioner-7d9f8b6c5d-aaaaa";
const NEW: &str = "csi-rbdplugin-provisioner-6c5d7d9f8b-aaaaa";

fn old_pods() -> [Pod; 2] {
    ["aaaaa", "bbbbb"].map(|suffix| replica(PROVISIONER, "7d9f8b6c5d", suffix))
}

fn held(name: &str, holder: &str, acquired: Timestamp, renewed: Timestamp) -> Lease {
    Lease {
        renewed: Some(renewed),
        ..lease(name, holder, acquired)
    }
}

fn gone(pod: &Pod) -> Change {
    let (namespace, name) = (pod.meta.namespace.clone(), pod.meta.name.clone());
    Change::Pod(Delta::Delete { namespace, name })
}

/// Before the restart; `holder` holds the provisioner's lease.
fn before(holder: &str) -> World {
    served(PROVISIONER, "7d9f8b6c5d", OLD).with(lease(LEASE, holder, at(-30)))
}

/// After it: the old pods went as `last` says, and the leases still name who held them before.
fn after(holder: &str, last: fn(Pod) -> Pod) -> World {
    let mut world = served(PROVISIONER, "6c5d7d9f8b", OLD);
    // Without those that the fixture took away.
    world.0.departures = Departures::default();
    for pod in old_pods() {
        let pod = last(pod);
        world = world.with(pod.clone()).with(gone(&pod));
    }
    world.with(held(LEASE, holder, at(-30), at(-2))).with(held(
        SNAPSHOTTER_LEASE,
        OLD,
        at(-30),
        at(-2),
    ))
}

fn kept(object: ObjectKey, holder: &str) -> EvidenceRecord {
    EvidenceRecord {
        object,
        resource_version: "1".to_owned(),
        content: json!({"object": {"spec": {"holderIdentity": holder}}}).to_string(),
    }
}

/// A run that waits for the leases, with evidence of who held them.
fn restarting(holder: &str) -> Remediation {
    let mut run = at_step(StepName::RestartProvisioner, &before(holder));
    let status = run.status.as_mut().unwrap();
    let record = &mut status.steps[0];
    record.started_at = at(-2);
    (record.acted_at, record.replaced_at) = (Some(at(-2)), Some(at(-1)));
    let leases = [(LEASE, holder), (SNAPSHOTTER_LEASE, OLD)];
    let leases = leases.map(|(name, holder)| kept(lease(name, holder, at(-30)).key(), holder));
    status.evidence.extend(leases);
    run
}

/// What comes next once what the gates say is on record.
fn next(mut run: Remediation, world: &World) -> (RemediationStatus, NextAction) {
    if let NextAction::Record(status) = ask(&run, world) {
        run.status = Some(*status);
    }
    let moved = ask(&run, world);
    if let NextAction::Record(status) = &moved {
        run.status = Some((**status).clone());
    }
    (run.status.unwrap(), moved)
}

/// Leases that are handed over.
fn handed_over(moved: &NextAction) -> Vec<&str> {
    let NextAction::Act(intents) = moved else {
        return Vec::new();
    };
    let names = intents.iter().filter_map(|intent| match intent {
        Intent::HandOver { object, .. } => Some(&*object.name),
        _ => None,
    });
    names.collect()
}

#[rstest]
#[case::by_a_new_pod(held(LEASE, NEW, at(-1), at(0)), true)]
#[case::by_a_new_pod_before_the_last_old_one_went(held(LEASE, NEW, at(-2) + s(30), at(-2) + s(40)), true)]
#[case::by_another_made_up_identity(held(LEASE, OTHER_RANDOM, at(0), at(0)), true)]
#[case::by_one_that_may_be_an_old_standbys(held(LEASE, OTHER_RANDOM, at(-2) + s(5), at(-1)), false)]
#[case::by_the_old_made_up_identity(held(LEASE, RANDOM, at(-30), at(-2)), false)]
#[case::by_nobody(held(LEASE, "", at(-1), at(-1)), false)]
fn a_lease_is_taken_over(#[case] lease: Lease, #[case] complete: bool) {
    let snapshotters = held(SNAPSHOTTER_LEASE, NEW, at(-1), at(0));
    let world = after(RANDOM, Pod::ended).with(lease).with(snapshotters);
    let (status, moved) = next(restarting(RANDOM), &world);
    let succeeded = status.steps[0].phase == StepPhase::Succeeded;
    assert_eq!(succeeded, complete, "{moved:?} {status:#?}");
}

/// The answer to the rollout may be 15 s late, and with it `acted_at`: a new process has the lease by then.
#[test]
fn random_identity_counts_that_took_the_lease_before_the_answer() {
    let mut run = restarting(RANDOM);
    run.status.as_mut().unwrap().steps[0].acted_at = Some(at(-1));
    let world = after(RANDOM, Pod::ended)
        .with(held(LEASE, OTHER_RANDOM, at(-2) + s(5), at(0)))
        .with(held(SNAPSHOTTER_LEASE, NEW, at(-1), at(0)));
    let (status, moved) = next(run, &world);
    let phase = status.steps[0].phase;
    assert_eq!(phase, StepPhase::Succeeded, "{moved:?} {status:#?}");
}

fn s(seconds: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(seconds)
}

/// A new pod on the same node, or of the same StatefulSet, has the identity of the old one: client-go takes it for the
/// leader that it was, and leaves `acquireTime` as it is.
#[rstest]
#[case::renewed_since(at(0), true)]
#[case::not_renewed_since(at(-2), false)]
fn the_same_identity_counts_once_it_is_renewed(#[case] renewed: Timestamp, #[case] complete: bool) {
    let on_host = |mut pod: Pod| {
        pod.sidecars.as_mut().unwrap().host_network = true;
        pod
    };
    let new = on_host(replica(PROVISIONER, "6c5d7d9f8b", "aaaaa"));
    let world = after(NODE, Pod::ended)
        .with(new)
        .with(held(LEASE, NODE, at(-30), renewed))
        .with(held(SNAPSHOTTER_LEASE, NODE, at(-30), at(0)));
    let (status, moved) = next(restarting(NODE), &world);
    let succeeded = status.steps[0].phase == StepPhase::Succeeded;
    assert_eq!(succeeded, complete, "{moved:?} {status:#?}");
    // The new pod has it already, or takes it at once.
    assert_eq!(handed_over(&moved), [""; 0]);
}

#[rstest]
#[case::a_pods_name(OLD)]
#[case::a_made_up_identity(RANDOM)]
fn leases_of_pods_that_ended_are_handed_over(#[case] holder: &str) {
    let (_, moved) = next(restarting(holder), &after(holder, Pod::ended));
    assert_eq!(handed_over(&moved), [LEASE, SNAPSHOTTER_LEASE], "{moved:?}");
    let NextAction::Act(intents) = &moved else {
        unreachable!()
    };
    assert!(
        matches!(&intents[0], Intent::HandOver { holder: found, renewed, .. }
            if **found == *holder && *renewed == Some(at(-2))),
        "{intents:?}"
    );
}

/// A run in its second attempt, whose first one recorded the leases of the pods that it replaced itself.
fn second_attempt(mut run: Remediation) -> Remediation {
    let status = run.status.as_mut().unwrap();
    status.attempt = 2;
    status.steps[0].attempt = 2;
    let leases = [LEASE, SNAPSHOTTER_LEASE].map(|name| lease(name, OLD, at(-30)).key());
    let first = leases.map(|lease| kept(lease, "csi-rbdplugin-provisioner-first"));
    status.evidence.splice(0..0, first);
    run
}

/// The second restart of a run took Rook's 137 s: the leases named the pods of the first one, and were left to expire.
#[test]
fn each_attempt_records_and_hands_over_the_leases_of_its_own_pods() {
    let mut run = second_attempt(restarting(OLD));
    let status = run.status.as_mut().unwrap();
    let evidence = status.evidence.split_off(2);
    let record = &mut status.steps[0];
    (record.acted_at, record.replaced_at) = (None, None);
    let (status, moved) = next(run.clone(), &before(OLD));
    let NextAction::CollectEvidence(objects) = &moved else {
        panic!("{moved:?} {status:#?}")
    };
    let names: Vec<_> = objects.iter().map(|object| &*object.name).collect();
    assert!(
        [LEASE, SNAPSHOTTER_LEASE]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );

    let mut run = second_attempt(restarting(OLD));
    assert_eq!(run.status.as_mut().unwrap().evidence[2..], evidence);
    let (_, moved) = next(run, &after(OLD, Pod::ended));
    assert_eq!(handed_over(&moved), [LEASE, SNAPSHOTTER_LEASE], "{moved:?}");
}

fn going(mut pod: Pod) -> Pod {
    pod.meta.deleting = Some(at(-2).into());
    pod
}

/// The old pods' objects are still there, as `last` shows them.
fn not_gone(holder: &str, last: fn(Pod) -> Pod) -> World {
    old_pods()
        .into_iter()
        .fold(after(holder, Pod::ended), |world, pod| {
            world.with(last(pod))
        })
}

/// The kubelet reports the end of a pod before it removes the object, and new pods are created from then on: a handover that
/// waited for the removal would come after their first look at the lease.
#[rstest]
#[case::ended_for_good(|pod: Pod| pod.ended().finished(), OLD, true)]
#[case::ended_for_good_and_a_made_up_identity(|pod: Pod| pod.ended().finished(), RANDOM, true)]
#[case::ended_in_a_phase_that_proves_nothing(Pod::ended, OLD, false)]
#[case::on_their_way_out(going, OLD, false)]
fn a_pods_end_is_believed_before_its_object_goes(
    #[case] last: fn(Pod) -> Pod,
    #[case] holder: &str,
    #[case] believed: bool,
) {
    let world = not_gone(holder, last);
    let mut run = restarting(holder);
    run.status.as_mut().unwrap().steps[0].replaced_at = None;
    let (status, moved) = next(run.clone(), &world);
    assert_eq!(status.steps[0].replaced_at.is_some(), believed, "{moved:?}");
    if believed {
        run.status.as_mut().unwrap().steps[0].replaced_at = Some(at(-1));
        let (_, moved) = next(run, &world);
        assert_eq!(handed_over(&moved), [LEASE, SNAPSHOTTER_LEASE], "{moved:?}");
    }
}

fn unscheduled(pod: Pod) -> Pod {
    let mut pod = pod.ended();
    pod.sidecars.as_mut().unwrap().node = None;
    pod
}

fn without_evidence(run: &mut Remediation) {
    run.status.as_mut().unwrap().evidence.clear();
}

fn with_evidence_of_another(run: &mut Remediation) {
    without_evidence(run);
    let evidence = kept(lease(LEASE, "x", at(-30)).key(), "x");
    run.status.as_mut().unwrap().evidence.push(evidence);
}

fn made_up(run: &mut Remediation) {
    *run = restarting(RANDOM);
}

fn as_it_is(_: &mut Remediation) {}

fn classic() -> World {
    after(OLD, Pod::ended)
}

#[rstest]
#[case::forced_deletion(after(OLD, |pod| pod), as_it_is, "was removed before its containers were seen to end")]
#[case::deletion_before_its_end_was_seen(
    after(OLD, going),
    as_it_is,
    "was removed before its containers were seen to end"
)]
#[case::a_node_that_is_not_ready(classic().with(node(NODE).not_ready()), as_it_is, "node k8s-0 of")]
#[case::a_pod_without_a_node(after(OLD, unscheduled), as_it_is, "the node of")]
#[case::a_pod_that_went_unseen(
    served(PROVISIONER, "6c5d7d9f8b", OLD)
        .with(held(LEASE, OLD, at(-30), at(-2)))
        .with(held(SNAPSHOTTER_LEASE, NEW, at(-1), at(0))),
    as_it_is,
    "was not observed"
)]
#[case::a_pod_still_on_its_way_out(
    classic().with(going(replica(PROVISIONER, "7d9f8b6c5d", "ccccc"))),
    as_it_is,
    "is still terminating"
)]
#[case::pods_that_ended_on_a_node_that_is_not_ready(
    not_gone(OLD, |pod| pod.ended().finished()).with(node(NODE).not_ready()),
    as_it_is,
    "node k8s-0 of"
)]
#[case::a_rival(
    classic().with(deployment("rival")).with(replica("rival", "x", "aaaaa")),
    as_it_is,
    "Pod rook-ceph/rival-x-aaaaa may hold it, too"
)]
#[case::no_evidence(
    classic(),
    without_evidence,
    "its holder before the restart is unknown"
)]
#[case::another_holder_than_before(
    classic(),
    with_evidence_of_another,
    "its holder changed during the restart"
)]
#[case::a_made_up_identity_and_any_node_not_ready(
    after(RANDOM, Pod::ended).with(node("k8s-7").not_ready()),
    made_up,
    "a process on node k8s-7, which is not Ready, may hold it"
)]
#[case::a_made_up_identity_and_a_forced_deletion(
    after(RANDOM, Pod::ended)
        .with(replica("forced", "x", "aaaaa"))
        .with(gone(&replica("forced", "x", "aaaaa"))),
    made_up,
    "a pod that was removed before it was seen to end may hold it"
)]
#[case::a_renewal_after_all_were_gone(
    classic().with(held(LEASE, OLD, at(-30), at(0))),
    as_it_is,
    "it was renewed after every old pod had ended"
)]
fn a_lease_in_doubt_is_waited_for(
    #[case] world: World,
    #[case] change: fn(&mut Remediation),
    #[case] doubt: &str,
) {
    let mut run = restarting(OLD);
    change(&mut run);
    let (status, moved) = next(run, &world);
    let names = handed_over(&moved);
    assert!(!names.contains(&LEASE), "{moved:?}");
    // A handover of the other comes first.
    if names.is_empty() {
        let message = &status.steps[0].message;
        assert!(message.contains(doubt), "{message}");
        assert!(
            message.starts_with("waits until lease rook-ceph/"),
            "{message}"
        );
    }
}

/// Evidence comes before the restart, and only where the holder is among the pods that are to be replaced.
#[rstest]
#[case::a_pods_name(before(OLD), &[LEASE, SNAPSHOTTER_LEASE])]
#[case::a_made_up_identity(before(RANDOM), &[LEASE, SNAPSHOTTER_LEASE])]
#[case::a_pod_that_is_gone(before("gone"), &[SNAPSHOTTER_LEASE])]
#[case::nobody(before(""), &[SNAPSHOTTER_LEASE])]
#[case::a_pod_that_came_after_the_plan_and_a_made_up_identity(
    before(RANDOM).with(replica(PROVISIONER, "7d9f8b6c5d", "ccccc")),
    &[SNAPSHOTTER_LEASE]
)]
#[case::a_pod_on_its_way_out(before(OLD).with(going(replica(PROVISIONER, "7d9f8b6c5d", "ccccc"))), &[])]
fn leases_and_pods_are_kept_before_the_restart(#[case] world: World, #[case] expected: &[&str]) {
    // The plan is of the time before any other pod.
    let run = at_step(StepName::RestartProvisioner, &before(OLD));
    let (_, moved) = next(run, &world);
    let NextAction::CollectEvidence(objects) = &moved else {
        panic!("{moved:?}")
    };
    let (pods, leases): (Vec<_>, Vec<_>) = objects
        .iter()
        .partition(|object| object.kind == ObjectKind::Pod);
    let names: Vec<&str> = leases.iter().map(|object| &*object.name).collect();
    assert_eq!(names, expected, "{moved:?}");
    assert!(!pods.is_empty(), "{moved:?}");
}
