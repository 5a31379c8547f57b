//! The program under the installed accounts: no request is refused, and every right is used.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt, ResourceExt};
use locksmith::api::TOUCHED_ANNOTATION;
use locksmith::api::ceph::CephCluster;
use locksmith::api::remediation::{Phase, Remediation, RemediationStatus};
use locksmith::api::snapshot::VolumeSnapshotContent;
use locksmith::cluster::leader;
use locksmith::demo::scenario;
use locksmith::demo::world::{Layout, Timings, WorldConfig};
use serde_json::{Value, json};

use crate::render;
use crate::runs::approval::{approve, waiting_for_a_person};
use crate::support::command::{locksmith, said};
use crate::support::daemon::notification;
use crate::support::stage::{
    DRIVER, NAMESPACE, PATIENCE, Rights, Settings, Setup, Stage, lacks_right, named,
};
use crate::testbed::{Event, Identity};

/// One verb on one resource, in a namespace and for a name; empty means all.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    namespace: String,
    group: String,
    resource: String,
    name: String,
    verb: String,
}

impl Right {
    fn is_used_by(&self, event: &Event) -> bool {
        let resource = match &*event.subresource {
            "" => event.resource.clone(),
            part => format!("{}/{part}", event.resource),
        };
        // For a list or a watch, the name is that of its field selector.
        (&event.group, &resource, &event.verb) == (&self.group, &self.resource, &self.verb)
            && (self.namespace.is_empty() || self.namespace == event.namespace)
            && (self.name.is_empty() || self.name == event.name)
    }
}

/// The rights in a rule of a role.
fn of_rule(rule: &Value, namespace: Option<&str>) -> Vec<Right> {
    let texts = |field: &str| -> Vec<String> {
        let values = rule[field].as_array().into_iter().flatten();
        values
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    };
    let mut names = texts("resourceNames");
    if names.is_empty() {
        names.push(String::new());
    }
    let mut rights = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for name in &names {
                rights.extend(texts("verbs").into_iter().map(|verb| Right {
                    namespace: namespace.unwrap_or_default().to_owned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    verb,
                }));
            }
        }
    }
    rights
}

/// The rights in the roles among `objects`, all of which are bound to one account.
fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for binding in objects
        .iter()
        .filter(|object| object["roleRef"].is_object())
    {
        let metadata = &binding["metadata"];
        let role = objects.iter().find(|object| {
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
                && object["metadata"]["namespace"] == metadata["namespace"]
        });
        let role = role.unwrap_or_else(|| panic!("bound to a role that is not there: {binding}"));
        for rule in role["rules"].as_array().unwrap() {
            rights.extend(of_rule(rule, metadata["namespace"].as_str()));
        }
    }
    rights
}

/// The RBAC objects in `directory` below deploy/.
fn installed(directory: &str) -> Vec<Value> {
    let mut objects = render::objects(&render::kustomize(&format!("deploy/{directory}")));
    objects.retain(render::gives_rights);
    objects
}

fn unused(mut granted: BTreeSet<Right>, events: &[Event]) -> BTreeSet<Right> {
    let is_used = |right: &Right| events.iter().any(|event| right.is_used_by(event));
    granted.retain(|right| {
        // Kinds with many objects are streamed by a watch, and listed only where the API server refuses that.
        let mut streamed = right.clone();
        streamed.verb = "watch".into();
        let used = is_used(right) || (right.verb == "list" && is_used(&streamed));
        !used
    });
    granted
}

fn none_is_refused(events: &[Event]) {
    assert!(events.len() > 10, "is this the right user? {events:#?}");
    let refused: Vec<_> = events.iter().filter(|event| lacks_right(event)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

async fn stage(mode: &'static str, layout: Layout) -> Stage {
    Stage::jammed_with(Setup {
        world: WorldConfig {
            layout,
            ..WorldConfig::new(Timings::fast())
        },
        others: vec![CephCluster::crd()],
        rights: Rights::Installed(mode),
        ..Setup::default()
    })
    .await
}

/// Waits until an older run is deleted.
async fn removed(stage: &Stage, name: &str) {
    let removed = |runs: &[Arc<Remediation>]| !runs.iter().any(|run| run.name_any() == name);
    stage
        .until::<Remediation>("the older run to be removed", removed)
        .await;
}

/// Blocks the deletion of a stuck snapshot by a finalizer on its content.
async fn keep_a_content(stage: &Stage) -> String {
    let uid = &stage.jam.stuck_snapshots[0].uid;
    let contents = stage.list::<VolumeSnapshotContent>().await;
    let of_it = |content: &&VolumeSnapshotContent| {
        content.spec.volume_snapshot_ref.uid.as_ref() == Some(uid)
    };
    let content = contents.iter().find(of_it).unwrap();
    let mut finalizers = content.finalizers().to_vec();
    finalizers.push(KEEPS.to_owned());
    set_finalizers(stage, &content.name_any(), &finalizers).await;
    content.name_any()
}

/// Removes the finalizer once the program has annotated the content.
async fn release_once_touched(stage: &Stage, name: &str) {
    let touched = |content: &VolumeSnapshotContent| {
        content.name_any() == name && content.annotations().contains_key(TOUCHED_ANNOTATION)
    };
    let contents = stage
        .until::<VolumeSnapshotContent>("the content to be touched", |all| {
            all.iter().any(|content| touched(content))
        })
        .await;
    let content = contents.iter().find(|content| touched(content)).unwrap();
    let mut finalizers = content.finalizers().to_vec();
    finalizers.retain(|one| one != KEEPS);
    set_finalizers(stage, name, &finalizers).await;
}

/// A finalizer that no controller removes.
const KEEPS: &str = "test.locksmith.dev/keep";

async fn set_finalizers(stage: &Stage, name: &str, finalizers: &[String]) {
    let contents: Api<VolumeSnapshotContent> = Api::all(stage.testbed.client());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    contents
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Two alerts of one cause, the whole procedure, and a stuck deletion.
async fn act_beside_rook() -> Vec<Event> {
    let stage = stage("act", Layout::Classic).await;
    let kept = keep_a_content(&stage).await;
    let daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    stage
        .run_until("the run to be under way", |status| !status.steps.is_empty())
        .await;
    let (code, answer) = daemon
        .fire("LocksmithRestoreStuck", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    release_once_touched(&stage, &kept).await;
    let healed = stage.finished().await;
    assert_eq!(healed.phase, Phase::Succeeded, "{}", daemon.log_text());
    stage.everything().await
}

/// The orphans after a person's approval; then the whole procedure where an operator would revert a rollout, after which
/// the older run is deleted.
async fn act_beside_an_operator() -> Vec<Event> {
    let stage = stage("act", Layout::OperatorManaged).await;
    let settings = Settings {
        keep: 1,
        // Runs that the gates no longer count need not be kept.
        cooldown: "1s",
        gates: ", budgets: {within: 1s}",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let name = waiting_for_a_person(&stage, &daemon).await;
    approve(&stage, &name).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", daemon.log_text());

    stage.fire(&daemon).await;
    let healed = |status: &RemediationStatus| status.phase == Phase::Succeeded;
    stage
        .run_of("csi-operation-locks", "the jam to be healed", healed)
        .await;
    // A run that holds sources is kept, and does not count.
    stage.move_deadline(Timestamp::now()).await;
    removed(&stage, &name).await;
    stage.released().await;
    stage.everything().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn mode_act_has_exactly_the_rights_it_uses() {
    let mut events = act_beside_rook().await;
    events.extend(act_beside_an_operator().await);
    none_is_refused(&events);
    let unused = unused(granted(&installed("overlays/act")), &events);
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn mode_observe_has_no_right_to_write() {
    let stage = stage("observe", Layout::Classic).await;
    let settings = Settings {
        mode: "observe",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    let (code, _) = daemon
        .fire("LocksmithOperationLocked", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 200);
    // Its log is followed, and has more than the objects show.
    let read = "locksmith_log_lines_total";
    daemon
        .until("logs to be read", |samples| samples[read] > 0.0)
        .await;
    let events = stage.everything().await;
    none_is_refused(&events);
    let writes: Vec<_> = events.iter().filter(|event| event.is_write()).collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let granted = granted(&installed("overlays/observe"));
    let unused = unused(granted.clone(), &events);
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    for right in granted {
        let reads = ["get", "list", "watch"].contains(&&*right.verb);
        assert!(reads && right.resource != "secrets", "{right:?}");
    }
}

/// The holds of a former daemon in mode act are released; a plan that two alerts request waits for a person; another run is
/// planned, after which the older one is deleted.
async fn plan_after_act() -> Vec<Event> {
    let stage = stage("plan", Layout::Classic).await;
    let tomorrow = Timestamp::now() + jiff::SignedDuration::from_hours(24);
    // More than one batch, so that it is patched before it is deleted.
    stage
        .create_leftover_hold(&stage.jam.sources[0], 30, tomorrow)
        .await;
    let settings = Settings {
        mode: "plan",
        keep: 1,
        cooldown: "1s",
        gates: ", budgets: {within: 1s}",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    stage.released().await;
    stage.forget_run().await;

    let mut alert = notification("LocksmithSourceOrphaned", &[("driver", DRIVER)]);
    for fingerprint in ["00000000000000f1", "00000000000000f2"] {
        alert["alerts"][0]["fingerprint"] = json!(fingerprint);
        daemon.notify(&alert).await;
        let planned = |status: &RemediationStatus| status.plan.is_some();
        stage.run_until("the plan", planned).await;
    }
    let name = stage.list::<Remediation>().await[0].name_any();
    approve(&stage, &name).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Planned, "{}", daemon.log_text());

    stage.fire(&daemon).await;
    let planned = |status: &RemediationStatus| status.phase == Phase::Planned;
    stage
        .run_of("csi-operation-locks", "the plan", planned)
        .await;
    removed(&stage, &name).await;
    renewals(&stage, 1).await;
    stage.everything().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn mode_plan_has_fewer_rights_than_act() {
    let events = plan_after_act().await;
    none_is_refused(&events);
    let [observe, plan, act] =
        ["observe", "plan", "act"].map(|mode| granted(&installed(&format!("overlays/{mode}"))));
    let unused = unused(plan.clone(), &events);
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    assert!(observe.is_subset(&plan) && plan.is_subset(&act));
    let deletes: Vec<_> = plan.iter().filter(|right| right.verb == "delete").collect();
    assert!(
        deletes
            .iter()
            .all(|right| ["remediations", "snapshotholds"].contains(&&*right.resource)),
        "{deletes:?}"
    );
}

/// Waits for a number of renewals of the Lease.
async fn renewals(stage: &Stage, times: usize) {
    let mut seen = BTreeSet::new();
    let renewed = |leases: &[Arc<Lease>]| {
        let ours = leases
            .iter()
            .find(|lease| lease.name_any() == leader::LEASE_NAME);
        seen.extend(ours.and_then(|lease| lease.resource_version()));
        seen.len() > times
    };
    let leases: Api<Lease> = stage.api(NAMESPACE);
    let waited = scenario::until(leases, "the Lease to be renewed", PATIENCE, renewed);
    waited.await.unwrap();
}

/// The kubeconfig of `account` in a pod of [`NAMESPACE`].
fn in_its_namespace(account: &Identity, directory: &tempfile::TempDir) -> PathBuf {
    let text = std::fs::read_to_string(account.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_saphyr::from_str(&text).unwrap();
    kubeconfig["contexts"][0]["context"]["namespace"] = json!(NAMESPACE);
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn uninstall_releases_holds_of_a_killed_daemon() {
    let stage = stage("act", Layout::Classic).await;
    let mut daemon = stage.daemon(&Settings::default()).await;
    stage.fire(&daemon).await;
    let status = stage.finished().await;
    assert!(status.held > 0, "{status:#?}");

    let objects = installed("uninstall");
    render::apply(stage.testbed.kubeconfig(), &objects);
    let account = "locksmith-release";
    let identity = stage.testbed.service_account(NAMESPACE, account).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = in_its_namespace(&identity, &directory);
    let lives = leader::vacant(stage.testbed.client(), NAMESPACE);
    tokio::select! {
        ended = lives => panic!("nobody leads, it says, while a daemon does: {ended:?}"),
        () = renewals(&stage, 2) => {}
    }
    daemon.kill();
    let released = locksmith(
        &kubeconfig,
        &["release", "--all", "--after-daemon", "-n", NAMESPACE],
    )
    .await;
    assert!(released.status.success(), "{}", said(&released));
    stage.nothing_is_held().await;

    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let events = stage.everything_of(&user).await;
    none_is_refused(&events);
    let unused = unused(granted(&objects), &events);
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    // The Lease of a killed daemon is read until it has expired.
    let first = events.iter().position(Event::is_write).unwrap();
    let lease = |event: &Event| event.resource == "leases";
    assert!(events[..first].iter().filter(|event| lease(event)).count() > 1);
    assert!(!events[first..].iter().any(lease));
}

/// Whether the API server accepted it; otherwise the policy `locksmith-restart` must have refused it.
fn passes<T: std::fmt::Debug>(answer: kube::Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.message.contains("'locksmith-restart'") => false,
        other => panic!("{other:?}"),
    }
}

/// RBAC knows neither fields nor owners. With the rights of `restartProvisioner` alone, a stolen token could change the
/// driver's operator, which has further rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn restart_rights_are_limited_to_restarts() {
    const ROOK: &str = "rook-ceph";
    let stage = stage("act", Layout::Classic).await;
    let operator: Pod = named(
        json!({"name": "rook-ceph-operator"}),
        json!({"spec": {"containers": [{"name": "rook-ceph-operator", "image": "rook"}]}}),
    );
    let pods: Api<Pod> = stage.api(ROOK);
    pods.create(&PostParams::default(), &operator)
        .await
        .unwrap();
    let listed = pods.list(&Default::default()).await.unwrap();
    let mut names = listed.iter().map(ResourceExt::name_any);
    let provisioner = names.find(|name| name.starts_with("csi-rbdplugin-provisioner-"));
    let provisioner = provisioner.expect("a provisioner's pod");

    let daemon = stage.user().client();
    let deployments: Api<Deployment> = Api::namespaced(daemon.clone(), ROOK);
    let dry_run = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = async |change: Value| {
        let name = "csi-rbdplugin-provisioner";
        passes(
            deployments
                .patch(name, &dry_run, &Patch::Merge(change))
                .await,
        )
    };
    let template = |change: Value| json!({"spec": {"template": change}});
    let account = template(json!({"spec": {"serviceAccountName": "rook-ceph-system"}}));
    let begun = Instant::now();
    while patch(account.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "the policy is not enforced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!patch(json!({"spec": {"replicas": 0}})).await);
    assert!(patch(template(json!({"metadata": {"annotations": {"a": "b"}}}))).await);

    let pods: Api<Pod> = Api::namespaced(daemon, ROOK);
    let gone = DeleteParams::default().dry_run();
    assert!(!passes(pods.delete("rook-ceph-operator", &gone).await));
    assert!(passes(pods.delete(&provisioner, &gone).await));
    // No other account is bound.
    let administrator: Api<Deployment> = stage.api(ROOK);
    let name = "csi-rbdplugin-provisioner";
    assert!(passes(
        administrator
            .patch(name, &dry_run, &Patch::Merge(account))
            .await
    ));
}
