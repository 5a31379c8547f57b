//! The playbook's jam: observed, exported and healed by the daemon on a real control plane.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use locksmith::api::ObjectKind;
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Phase, RemediationStatus, StepPhase};
use locksmith::api::snapshot::VolumeSnapshot;
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::stage::{DRIVER, Settings, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn one_alert_heals_the_playbooks_jam() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        steps: "suspendSources, restartProvisioner, deleteFailedSnapshots, verifyProvisioning, resumeSources",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(
        status.phase,
        Phase::Succeeded,
        "{}\n{status:#?}",
        daemon.log_text()
    );
    let steps: Vec<_> = status
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.phase))
        .collect();
    let all = [
        "suspendSources",
        "restartProvisioner",
        "deleteFailedSnapshots",
        "verifyProvisioning",
        "resumeSources",
    ];
    assert_eq!(steps, all.map(|step| (step, StepPhase::Succeeded)));
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{:#?}",
        status.verdict
    );
    for pending in &stage.jam.pending {
        let claims = stage.api::<PersistentVolumeClaim>(&pending.claim.namespace);
        let claim = claims.get(&pending.claim.name).await.unwrap();
        assert_eq!(claim.uid().as_deref(), Some(&*pending.claim.uid));
        assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
    }
    // The restart heals most snapshots; the others are deleted.
    let stuck = stage.jam.stuck_snapshots.iter().map(|one| one.uid.clone());
    let stuck: BTreeSet<_> = stuck.collect();
    for snapshot in stage.list::<VolumeSnapshot>().await {
        let ready = snapshot.status.as_ref().and_then(|it| it.ready_to_use);
        assert!(
            ready == Some(true) || !stuck.contains(&snapshot.uid().unwrap()),
            "{}",
            snapshot.name_any()
        );
    }
    each_write_is_logged(&stage, &daemon).await;
}

/// The log has a line for each successful write, with run, step, verb and object.
async fn each_write_is_logged(stage: &Stage, daemon: &Daemon) {
    let log = daemon.log_text();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let decided: Vec<Value> = lines
        .filter(|line: &Value| {
            ["write succeeded", "hold released"].contains(&line["message"].as_str().unwrap())
        })
        .collect();
    for line in decided.iter().filter(|line| line["hold"].is_null()) {
        assert!(
            line["run"]
                .as_str()
                .unwrap()
                .starts_with("csi-operation-locks-"),
            "{line}"
        );
        assert!(
            line["step"].is_string() || line["reason"].is_string(),
            "{line}"
        );
    }
    let logged = decided
        .iter()
        .filter_map(|line| line["object"].as_str().or(line["hold"].as_str()));
    let mut logged: Vec<_> = logged.map(str::to_lowercase).collect();
    let mut written = stage.writes_elsewhere().await;
    let holds = stage.writes().await.into_iter();
    written.extend(holds.filter(|event| event.resource == "snapshotholds"));
    // One that is refused, such as by a conflict, is logged as failed.
    written.retain(|event| event.code < 300);
    let written = written.into_iter().map(|event| {
        let kind = event.resource.trim_end_matches('s');
        let name = match event.name.as_str() {
            // The name is only in the body of a create.
            "" => event.request_body.as_ref().unwrap()["metadata"]["name"]
                .as_str()
                .unwrap(),
            name => name,
        };
        format!("{kind} {}/{name}", event.namespace)
    });
    let mut written: Vec<_> = written.collect();
    logged.sort();
    written.sort();
    assert_eq!(logged, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn holds_end_with_their_app_or_at_their_deadline() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        deadline: "10m",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");

    // The sources of stopped apps are held, and the status lists exactly them, each with its deadline.
    let mut expected = stage.held_after_run();
    stage.held_until(&expected).await;
    let status = stage
        .run_until("the status to list exactly what is held", |status| {
            listed(status) == expected
        })
        .await;
    assert_eq!(stage.held().await, expected);
    assert_eq!(status.held as usize, expected.len());
    for hold in &status.holds {
        let taken = hold.until - SignedDuration::from_mins(10);
        // Deadlines are in whole seconds.
        let begun = status.started_at.unwrap() - SignedDuration::from_secs(1);
        let run = begun..=status.finished_at.unwrap();
        assert!(run.contains(&taken), "{hold:?} in {run:?}");
        assert!(hold.waiting_for.starts_with("its "), "{hold:?}");
    }
    let row = kubectl(
        stage.testbed.kubeconfig(),
        &["PLAYBOOK", "DRIVER", "PHASE", "HELD"],
    );
    let held = expected.len().to_string();
    assert_eq!(row, ["csi-operation-locks", DRIVER, "Succeeded", &*held]);

    // The sources of a started app are released; those of others stay held.
    let app = &stage.jam.stopped.iter().find(|app| app.name == "atuin");
    let app = app.expect("atuin is stopped");
    let scaled = json!({"spec": {"replicas": 1}});
    stage
        .patch::<Deployment>(&app.namespace, &app.name, &scaled)
        .await;
    let place = format!("{}/{}", app.namespace, app.name);
    stage
        .until::<SnapshotHold>("the started app's source to be released", |holds| {
            !holds
                .iter()
                .any(|hold| hold.spec.sources.values().any(|of| *of == place))
        })
        .await;
    let labels = kube::api::ListParams::default().labels("app.kubernetes.io/name=atuin");
    let pods = stage.api::<Pod>(&app.namespace);
    let pods = pods.list(&labels).await.unwrap();
    let phase = |pod: &Pod| pod.status.clone().and_then(|status| status.phase);
    assert!(
        pods.iter()
            .any(|pod| phase(pod).as_deref() == Some("Running")),
        "resumed before its app ran"
    );
    expected.retain(|name| *name != app.name);
    let still = stage
        .run_until("the resumed source to be listed no more", |status| {
            !listed(status).contains(&app.name)
        })
        .await;
    assert_eq!(listed(&still), expected);
    assert_eq!(stage.held().await, expected);

    // At the deadline nothing is held, orphaned or not, and there is no trace of a hold.
    let deadline = jiff::Timestamp::now() + SignedDuration::from_secs(5);
    stage.move_deadline(deadline).await;
    stage.released().await;
    assert!(
        jiff::Timestamp::now() >= deadline,
        "released before its time"
    );
    stage.nothing_is_held().await;
    let over = stage
        .run_until("the status to list no hold", |status| {
            status.holds.is_empty()
        })
        .await;
    assert_eq!((over.phase, over.held), (Phase::Succeeded, 0));
}

/// Names of the sources that a status lists as held, in order.
fn listed(status: &RemediationStatus) -> Vec<String> {
    let sources = status
        .holds
        .iter()
        .filter(|hold| hold.object.kind == ObjectKind::ReplicationSource);
    let mut names: Vec<_> = sources.map(|hold| hold.object.name.to_string()).collect();
    names.sort();
    names
}

/// The columns of `kubectl get remediations -A` under these headings, for the only run.
fn kubectl(kubeconfig: &Path, headings: &[&str]) -> Vec<String> {
    let output = Command::new(crate::render::tool("kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["get", "remediations", "-A"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let [head, row] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("not one Remediation: {text}")
    };
    let cell = |heading: &&str| {
        let start = head
            .find(heading)
            .unwrap_or_else(|| panic!("no {heading} in {head}"));
        let word = row[start..].split_whitespace().next();
        word.unwrap_or_default().to_owned()
    };
    headings.iter().map(cell).collect()
}
