//! The shipped roles: the program lacks no right it asks for, and has none it does not use.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::{Api, CustomResourceExt, ResourceExt};
use locksmith::api::ceph::CephCluster;
use locksmith::api::remediation::{Phase, Remediation};
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::world::{Layout, Timings, WorldConfig};
use serde_json::json;

use crate::daemon::Daemon;
use crate::stage::{DRIVER, NAMESPACE, Settings, Setup, Stage};
use crate::testbed::{Event, Identity};
use crate::tools;

const USER: &str = "system:serviceaccount:locksmith:locksmith";

/// API group, resource with its subresource, verb.
type Right = (String, String, String);

/// Installs what `deploy/overlays/<overlay>` holds, as its README line does. Who its service account is.
async fn install(stage: &Stage, overlay: &str) -> Identity {
    let ceph = CephCluster::crd();
    let api = Api::all(stage.testbed.client());
    api.create(&Default::default(), &ceph).await.unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/overlays")
        .join(overlay);
    tools::kubectl(&[
        "--kubeconfig",
        stage.testbed.kubeconfig().to_str().unwrap(),
        "apply",
        "--server-side",
        "--force-conflicts",
        "-k",
        directory.to_str().unwrap(),
    ]);
    stage.testbed.service_account(NAMESPACE, "locksmith").await
}

/// What the program was refused.
fn refused(events: &[Event]) -> Vec<String> {
    let refused = events.iter().filter(|event| event.code == 403);
    refused
        .map(|event| format!("{} {}", event.verb, event.uri))
        .collect()
}

fn used(events: &[Event]) -> BTreeSet<Right> {
    let right = |event: &Event| {
        let mut path = event.uri.split('/').skip(1);
        let group = match path.next()? {
            "apis" => path.next()?.to_owned(),
            "api" => String::new(),
            _ => return None,
        };
        let resource = match event.subresource.as_str() {
            "" => event.resource.clone(),
            subresource => format!("{}/{subresource}", event.resource),
        };
        (!resource.is_empty()).then(|| (group, resource, event.verb.clone()))
    };
    events.iter().filter_map(right).collect()
}

/// Everything the shipped roles grant.
async fn granted(stage: &Stage) -> BTreeSet<Right> {
    let ours = |name: String| name.starts_with("locksmith-");
    let clusters = stage.list::<ClusterRole>().await;
    let clusters = clusters.into_iter().filter(|role| ours(role.name_any()));
    let roles = stage.list::<Role>().await;
    let roles = roles.into_iter().filter(|role| ours(role.name_any()));
    let all = clusters
        .filter_map(|role| role.rules)
        .chain(roles.filter_map(|role| role.rules));
    all.flatten().flat_map(rights).collect()
}

fn rights(rule: PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push((group.clone(), resource.clone(), verb.clone()));
            }
        }
    }
    rights
}

/// Whether it is the orphans' run and waits for nothing but a person, with all of them in its plan.
fn asks(run: &Remediation, orphans: usize) -> bool {
    let Some(status) = &run.status else {
        return false;
    };
    let mut closed = status.gates.iter().filter(|gate| !gate.open);
    let steps = status.plan.iter().flat_map(|plan| &plan.steps);
    run.spec.playbook == "orphaned-sources"
        && closed.all(|gate| gate.gate == "approval")
        && steps.map(|step| step.targets.len()).sum::<usize>() == orphans
}

async fn of_the_program(stage: &Stage) -> Vec<Event> {
    let mut events = stage.log().await;
    events.retain(|event| event.user == USER);
    events
}

/// The whole procedure and the deletion of orphans under the service account; what it asked for.
async fn acts(layout: Layout) -> (Vec<Event>, BTreeSet<Right>) {
    let stage = Stage::set(Setup {
        world: WorldConfig {
            layout,
            ..WorldConfig::new(Timings::fast())
        },
        ..Setup::default()
    })
    .await;
    let account = install(&stage, "act").await;
    // Everything is resumed at the end, so that the run holds nothing and is not kept.
    let config = Settings::default()
        .yaml()
        .replace("namespace: locksmith", "namespace: locksmith, keep: 1")
        .replace("batch: 20", "when: all, batch: 20");
    let daemon = Daemon::start(account.kubeconfig(), &config).await;
    daemon
        .until("the jam to be seen by a leader", |samples| {
            let stuck = "locksmith_findings{finding=\"pending_claim\",reason=\"operation_lock\"}";
            samples.get(stuck) == Some(&4.0) && samples["locksmith_leader"] > 0.0
        })
        .await;
    stage.fire(&daemon).await;
    // Another alert of the same cause joins the run that is seen by now.
    stage
        .run_until("the run to begin", |status| status.started_at.is_some())
        .await;
    let (code, _) = daemon
        .fire("LocksmithRestoreStuck", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202);
    let status = stage.finished().await;
    assert_eq!(
        status.phase,
        Phase::Succeeded,
        "{status:#?}\n{}",
        daemon.log_text()
    );
    stage.released().await;

    let (code, _) = daemon
        .fire("LocksmithSourceOrphaned", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202);
    let runs = stage
        .until::<Remediation>("the orphans' run to ask", |runs| {
            runs.iter().any(|run| asks(run, stage.jam.orphaned.len()))
        })
        .await;
    let run = runs
        .iter()
        .find(|run| run.spec.playbook == "orphaned-sources");
    let run = run.unwrap();
    let approval = json!({"spec": {"approval": {
        "decision": "Approved",
        "plan": run.status.as_ref().unwrap().plan.as_ref().unwrap().hash,
        "at": jiff::Timestamp::now(),
    }}});
    stage
        .patch::<Remediation>(NAMESPACE, &run.name_any(), &approval)
        .await;
    stage
        .until::<ReplicationSource>("the orphans to be gone", |sources| {
            sources.len() == stage.jam.sources.len() - stage.jam.orphaned.len()
        })
        .await;
    stage
        .until::<Remediation>("the older run to be removed", |runs| runs.len() == 1)
        .await;
    let events = of_the_program(&stage).await;
    assert_eq!(refused(&events), Vec::<String>::new());
    (events, granted(&stage).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn acting_needs_every_right_it_is_given_and_no_other() {
    let (plain, granted) = acts(Layout::Classic).await;
    let (operated, _) = acts(Layout::OperatorManaged).await;
    let mut unused = granted;
    for right in used(&plain).into_iter().chain(used(&operated)) {
        unused.remove(&right);
    }
    assert_eq!(unused, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn observing_needs_no_right_to_write() {
    let stage = Stage::jammed().await;
    let account = install(&stage, "observe").await;
    let settings = Settings {
        mode: "observe",
        ..Settings::default()
    };
    let daemon = Daemon::start(account.kubeconfig(), &settings.yaml()).await;
    daemon
        .until("the whole jam to be seen", |samples| {
            let stuck = "locksmith_findings{finding=\"pending_claim\",reason=\"operation_lock\"}";
            let orphaned =
                "locksmith_findings{finding=\"orphaned_source\",reason=\"claim_missing\"}";
            samples.get(stuck) == Some(&4.0) && samples.get(orphaned) == Some(&2.0)
        })
        .await;
    let events = of_the_program(&stage).await;
    assert_eq!(refused(&events), Vec::<String>::new());
    let writes: Vec<_> = events.iter().filter(|event| event.is_write()).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let granted = granted(&stage).await;
    let reads = |(_, _, verb): &&Right| !matches!(verb.as_str(), "get" | "list" | "watch");
    assert_eq!(granted.iter().find(reads), None);
    let used = used(&events);
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// What of the deploy files the API server knows, it takes as it is, with no field it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn the_api_server_takes_every_manifest_strictly() {
    let stage = Stage::jammed().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let kubeconfig = stage.testbed.kubeconfig().to_str().unwrap().to_owned();
    let apply = |what: &[&str]| {
        let mut arguments = vec!["--kubeconfig", &kubeconfig, "apply", "--server-side"];
        arguments.extend(["--force-conflicts", "--dry-run=server", "--validate=strict"]);
        arguments.extend(what);
        tools::kubectl(&arguments)
    };
    for overlay in ["overlays/observe", "overlays/act", ""] {
        let applied = apply(&["-k", root.join(overlay).to_str().unwrap()]);
        assert!(applied.contains("deployment.apps/locksmith"), "{applied}");
    }
    let job = apply(&[
        "-f",
        root.join("examples/uninstall-job.yaml").to_str().unwrap(),
    ]);
    assert!(job.contains("job.batch/locksmith-release"), "{job}");
    println!(
        "not known here, and not tried: ServiceMonitor, PrometheusRule, AlertmanagerConfig, Flux, Argo CD"
    );
}
