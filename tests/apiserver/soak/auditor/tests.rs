//! The log of a correct run, and each way to break it.

use locksmith::api::Action;
use rstest::rstest;
use serde_json::json;

use super::*;

const USER: &str = "locksmith-0";
const NAMESPACE: &str = "volsync-locksmith";
const RUN: &str = "00000000-0000-4000-8000-000000000001";
const SNAPSHOT: &str = "00000000-0000-4000-8000-000000000002";
const POD: &str = "00000000-0000-4000-8000-000000000003";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A successful write of the program.
fn write(second: i64, verb: &str, resource: &str, name: &str, body: Value) -> Event {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let namespace = match resource {
        "remediations" | "snapshotholds" | "leases" => NAMESPACE,
        "deployments" | "pods" => "rook-ceph",
        _ => "media",
    };
    Event {
        stage: "ResponseComplete".to_owned(),
        verb: verb.to_owned(),
        user: USER.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uri: format!("/{namespace}/{resource}/{name}"),
        request_body: Some(body),
        received: at(second),
        code: 200,
        ..Event::default()
    }
}

/// The run's status from `second` on.
fn status(second: i64, phase: &str, step: Option<&str>, open: bool, kept: bool) -> Event {
    let object = |kind: &str, namespace: &str, name: &str, uid: &str| json!({"kind": kind, "namespace": namespace, "name": name, "uid": uid});
    let target = |object: Value, action: Value| json!({"object": object, "action": action});
    let snapshot = object("VolumeSnapshot", "media", "volsync-plex-src", SNAPSHOT);
    let steps = json!([
        {"step": "suspendSources", "sources": {"media": ["plex"]}},
        {"step": "deleteFailedSnapshots", "targets": [target(snapshot.clone(), json!(Action::Delete))]},
        {"step": "restartProvisioner", "targets": [
            target(object("Deployment", "rook-ceph", "provisioner", "u-deployment"), json!(Action::Rollout)),
            target(object("Pod", "rook-ceph", "provisioner-0", POD), json!(Action::Replace)),
        ]},
    ]);
    let mut said = json!({
        "phase": phase,
        "attempt": 1,
        "plan": {"driver": "d", "madeAt": at(0), "steps": steps, "hash": "h"},
        "gates": [{"gate": "mode", "open": true}, {"gate": "killSwitch", "open": open, "reason": "r"}],
    });
    if let Some(step) = step {
        said["step"] = json!(step);
    }
    if kept {
        let evidence = json!({"object": snapshot, "resourceVersion": "7", "content": "{}"});
        said["evidence"] = json!([evidence]);
    }
    let metadata = json!({"name": "r", "uid": RUN, "resourceVersion": "1"});
    let body = json!({"metadata": metadata, "status": said});
    // The test's status must deserialize like one that the program writes.
    let typed = serde_json::from_value::<RemediationStatus>(body["status"].clone());
    typed.unwrap_or_else(|error| panic!("{error}: {body:#}"));
    write(second, "update", "remediations/status", "r", body)
}

fn hold(second: i64) -> Event {
    let metadata =
        json!({"name": "r", "ownerReferences": [{"kind": "Remediation", "name": "r", "uid": RUN}]});
    let spec = json!({"until": at(99), "sources": {"u-source": "media/plex"}});
    let body = json!({"metadata": metadata, "spec": spec});
    write(second, "create", "snapshotholds", "", body)
}

fn release(second: i64) -> Event {
    let patch =
        json!({"metadata": {"resourceVersion": "4"}, "spec": {"sources": {"u-source": null}}});
    write(second, "patch", "snapshotholds", "r", patch)
}

/// Another client's write of the snapshot, with the response.
fn snapshot(second: i64, ready: bool) -> Event {
    let answer = json!({
        "kind": "VolumeSnapshot",
        "metadata": {"uid": SNAPSHOT, "resourceVersion": "7"},
        "status": {"readyToUse": ready},
    });
    Event {
        user: "system:snapshot-controller".to_owned(),
        response_body: Some(answer),
        ..write(
            second,
            "update",
            "volumesnapshots/status",
            "volsync-plex-src",
            json!({}),
        )
    }
}

fn delete(second: i64) -> Event {
    let preconditions = json!({"uid": SNAPSHOT, "resourceVersion": "7"});
    let body = json!({"preconditions": preconditions});
    Event {
        response_body: Some(json!({"kind": "Status"})),
        ..write(
            second,
            "delete",
            "volumesnapshots",
            "volsync-plex-src",
            body,
        )
    }
}

fn rollout(second: i64) -> Event {
    let annotations = json!({RESTART_ANNOTATION: format!("{RUN}-1")});
    let body = json!({
        "metadata": {"resourceVersion": "9"},
        "spec": {"template": {"metadata": {"annotations": annotations}}},
    });
    write(second, "patch", "deployments", "provisioner", body)
}

fn forget(second: i64) -> Event {
    let body = json!({"preconditions": {"uid": RUN, "resourceVersion": "8"}});
    write(second, "delete", "remediations", "r", body)
}

/// The log of a correct run, with one event per second.
fn run() -> Vec<Event> {
    let (suspend, delete_step) = (Some("suspendSources"), Some("deleteFailedSnapshots"));
    vec![
        write(
            0,
            "create",
            "leases",
            "",
            json!({"metadata": {"name": LEASE_NAME}}),
        ),
        snapshot(1, false),
        write(
            2,
            "create",
            "remediations",
            "",
            json!({"metadata": {"name": "r"}}),
        ),
        status(3, "Running", suspend, true, false),
        hold(4),
        status(5, "Running", delete_step, true, true),
        delete(6),
        status(7, "Running", Some("restartProvisioner"), true, true),
        rollout(8),
        status(9, "Succeeded", None, true, true),
        release(10),
        forget(11),
    ]
}

fn audit(events: &[Event], observed: &[(Timestamp, Timestamp)], held: &[String]) -> Report {
    let mut auditor = Auditor::new(&[USER], NAMESPACE, observed);
    for event in events {
        auditor.read(event);
    }
    auditor.report(held)
}

fn rules(report: &Report) -> Vec<Rule> {
    report.violations.iter().map(|one| one.rule).collect()
}

#[test]
fn correct_run_breaks_no_promise() {
    let report = audit(&run(), &[], &[]);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert_eq!(report.runs, 1);
    for what in ["hold", "delete", "restart", "release", "forget"] {
        assert_eq!(report.writes[what], 1, "{what}");
    }
}

#[rstest]
#[case::a_hold_before_its_run_begins(|log: &mut Vec<Event>| log[4].received = at(2), Rule::OpenGate)]
#[case::a_hold_after_its_run_is_over(|log: &mut Vec<Event>| log[4].received = at(10), Rule::OpenGate)]
#[case::a_hold_of_no_run(|log: &mut Vec<Event>| drop(log.remove(3)), Rule::OpenGate)]
#[case::a_hold_behind_a_closed_gate(
    |log: &mut Vec<Event>| log[3] = status(3, "Running", Some("suspendSources"), false, false),
    Rule::OpenGate
)]
#[case::hold_of_an_unplanned_source(
    |log: &mut Vec<Event>| {
        log[4].request_body.as_mut().unwrap()["spec"]["sources"]["u-other"] = json!("media/sonarr");
    },
    Rule::OpenGate
)]
#[case::a_deletion_in_another_step(|log: &mut Vec<Event>| log[6].received = at(8), Rule::OpenGate)]
#[case::deletion_of_an_unplanned_object(
    |log: &mut Vec<Event>| {
        log[6].request_body = Some(json!({"preconditions": {"uid": "another", "resourceVersion": "7"}}));
        log[6].response_body = Some(json!({"kind": "VolumeSnapshot", "status": {"readyToUse": false}}));
    },
    Rule::OpenGate
)]
#[case::a_restart_for_another_attempt(
    |log: &mut Vec<Event>| {
        let path = "/spec/template/metadata/annotations";
        let body = log[8].request_body.as_mut().unwrap();
        body.pointer_mut(path).unwrap()[RESTART_ANNOTATION] = json!(format!("{RUN}-2"));
    },
    Rule::OpenGate
)]
#[case::a_run_forgotten_before_its_end(|log: &mut Vec<Event>| log[11].received = at(8), Rule::OpenGate)]
#[case::a_deletion_without_its_uid(
    |log: &mut Vec<Event>| {
        log[11].request_body = Some(json!({"preconditions": {"resourceVersion": "8"}}));
        log[11].code = 409;
    },
    Rule::Guarded
)]
#[case::a_release_of_whatever_version(
    |log: &mut Vec<Event>| {
        let body = log[10].request_body.as_mut().unwrap();
        body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    },
    Rule::Guarded
)]
#[case::a_second_deletion(|log: &mut Vec<Event>| log.push(delete(6)), Rule::Once)]
#[case::a_second_restart(|log: &mut Vec<Event>| log.push(rollout(8)), Rule::Once)]
#[case::a_snapshot_that_was_ready(|log: &mut Vec<Event>| log[1] = snapshot(1, true), Rule::NeverReady)]
#[case::a_snapshot_of_which_nothing_is_known(|log: &mut Vec<Event>| drop(log.remove(1)), Rule::NeverReady)]
#[case::a_snapshot_that_was_ready_in_the_end(
    |log: &mut Vec<Event>| {
        log[6].response_body = Some(json!({"kind": "VolumeSnapshot", "status": {"readyToUse": true}}));
    },
    Rule::NeverReady
)]
#[case::a_deletion_without_evidence(
    |log: &mut Vec<Event>| log[5] = status(5, "Running", Some("deleteFailedSnapshots"), true, false),
    Rule::Evidence
)]
#[case::the_deletion_of_a_claim(
    |log: &mut Vec<Event>| log[6].resource = "persistentvolumeclaims".to_owned(),
    Rule::Purpose
)]
#[case::a_lease_that_is_not_its_own(
    |log: &mut Vec<Event>| log[0].namespace = "rook-ceph".to_owned(),
    Rule::Purpose
)]
#[case::another_change_of_a_deployment(
    |log: &mut Vec<Event>| {
        log[8].request_body = Some(json!({"metadata": {"resourceVersion": "9"}, "spec": {"replicas": 0}}));
    },
    Rule::Purpose
)]
#[case::a_change_of_a_source(
    |log: &mut Vec<Event>| log[10].resource = "replicationsources".to_owned(),
    Rule::Purpose
)]
fn each_violation_is_found(#[case] breach: fn(&mut Vec<Event>), #[case] rule: Rule) {
    let mut log = run();
    breach(&mut log);
    let report = audit(&log, &[], &[]);
    assert_eq!(rules(&report), [rule], "{:#?}", report.violations);
}

#[test]
fn evidence_of_one_concurrent_run_is_sufficient() {
    let mut log = run();
    for number in 10..20 {
        let mut other = status(5, "Running", Some("deleteFailedSnapshots"), true, false);
        let uid = format!("00000000-0000-4000-8000-0000000000{number}");
        other.request_body.as_mut().unwrap()["metadata"]["uid"] = json!(uid);
        log.insert(5, other);
    }
    let report = audit(&log, &[], &[]);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}

#[test]
fn refused_write_in_mode_observe_is_a_violation() {
    let mut log = run();
    log[10].code = 409;
    let observed = (at(10), at(11));
    let report = audit(&log, &[observed], &[]);
    assert_eq!(rules(&report), [Rule::Observe]);
    let report = audit(&log, &[(at(12), at(99))], &[]);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
}

#[test]
fn remaining_hold_is_a_violation() {
    let report = audit(&run(), &[], &["replicationsource media/plex".to_owned()]);
    assert_eq!(rules(&report), [Rule::Released]);
}

#[test]
fn writes_of_others_are_ignored() {
    let mut log = run();
    let mut theirs = delete(2);
    theirs.user = "somebody".to_owned();
    log.push(theirs);
    assert!(audit(&log, &[], &[]).violations.is_empty());
}
