//! Two replicas: one acts, both show the same; and a write of a frozen replica that arrives after the other has taken over
//! does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::Method;
use axum::response::Response;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use locksmith::api::remediation::Phase;
use locksmith::cluster::leader::LEASE_NAME;
use locksmith::demo::world::{Layout, Timings, WorldConfig};
use rstest::rstest;
use rustix::process::Signal;
use tokio::sync::SetOnce;

use crate::support::daemon::{Daemon, notification};
use crate::support::fault_proxy::{Call, Proxy, script};
use crate::support::stage::{DRIVER, NAMESPACE, PATIENCE, Settings, Setup, Stage, USER};
use crate::testbed::Event;

/// The user of the second replica.
const OTHER: &str = "locksmith-other";

/// Grace period of Kubernetes after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Time within which both show the same.
const SAME_WITHIN: Duration = Duration::from_secs(300);

fn settings() -> Settings {
    Settings {
        deadline: "1h",
        ..Settings::default()
    }
}

/// The second replica, while the first leads.
async fn second(stage: &Stage) -> Daemon {
    let user = stage.testbed.user(OTHER, Some("system:masters")).await;
    let second = Daemon::replica("locksmith-1", user.kubeconfig(), &settings().yaml()).await;
    second
        .until("the jam to be seen", |samples| {
            !stuck(samples).is_empty() && samples["locksmith_observation_complete"] > 0.0
        })
        .await;
    second
}

/// Waits until both have findings, and show the same: each observes a change at its own time.
async fn both_show_the_same(first: &Daemon, second: &Daemon) {
    let deadline = Instant::now() + SAME_WITHIN;
    let (mut of_first, mut of_second) = (first.follow().await, second.follow().await);
    loop {
        // Whichever shows a change first.
        tokio::select! {
            () = of_first.next() => {}
            () = of_second.next() => {}
        }
        let (one, other) = (first.metrics().await, second.metrics().await);
        let (one, other) = (stuck(&one), stuck(&other));
        if !one.is_empty() && one == other {
            return;
        }
        assert!(Instant::now() < deadline, "{one:#?}\nand\n{other:#?}");
    }
}

async fn leads(daemon: &Daemon) {
    daemon
        .until("it to lead", |samples| samples["locksmith_leader"] > 0.0)
        .await;
}

/// Number of stuck objects by labels.
fn stuck(samples: &BTreeMap<String, f64>) -> BTreeMap<&String, &f64> {
    let of_findings = |name: &&String| name.starts_with("locksmith_findings{");
    samples
        .iter()
        .filter(|(name, value)| of_findings(name) && **value > 0.0)
        .collect()
}

/// A write in transit, and how often it was made before.
#[derive(Clone, Copy, Debug)]
struct Write {
    method: &'static str,
    resource: &'static str,
    /// A part of the request body.
    says: &'static str,
    before: usize,
}

impl Write {
    const fn new(method: &'static str, resource: &'static str) -> Self {
        Self {
            method,
            resource,
            says: "",
            before: 0,
        }
    }

    const fn after(self, before: usize) -> Self {
        Self { before, ..self }
    }

    const fn saying(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn is(self, call: &Call) -> bool {
        call.method() == Method::from_bytes(self.method.as_bytes()).unwrap()
            && call.uri().path().contains(self.resource)
            && call.body().contains(self.says)
    }
}

/// Lets everything pass except one write, which is held until released.
struct Ambush {
    write: Write,
    seen: AtomicUsize,
    caught: SetOnce<String>,
    let_go: SetOnce<()>,
    freeze: SetOnce<Box<dyn Fn(Signal) + Send + Sync>>,
}

impl Ambush {
    async fn pass(self: Arc<Self>, call: Call) -> Response {
        let ours =
            self.write.is(&call) && self.seen.fetch_add(1, Ordering::Relaxed) == self.write.before;
        if ours {
            self.freeze.wait().await(Signal::STOP);
            self.caught.set(call.text()).unwrap();
            self.let_go.wait().await;
        }
        call.forward().await
    }
}

#[rstest]
#[case::the_run_itself(Write::new("POST", "/remediations"), Layout::Classic)]
#[case::a_hold(Write::new("POST", "/snapshotholds"), Layout::Classic)]
#[case::a_deletion(Write::new("DELETE", "/volumesnapshots/").after(1), Layout::Classic)]
#[case::the_restart(Write::new("PATCH", "/deployments/"), Layout::Classic)]
#[case::a_pods_deletion(Write::new("DELETE", "/pods/"), Layout::OperatorManaged)]
#[case::a_record(Write::new("PUT", "/remediations/").after(2), Layout::Classic)]
#[case::a_release(Write::new("PATCH", "/snapshotholds/").saying("null"), Layout::Classic)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn late_write_of_a_frozen_leader_does_no_harm(#[case] write: Write, #[case] layout: Layout) {
    let world = WorldConfig {
        layout,
        ..WorldConfig::new(Timings::fast())
    };
    let stage = Stage::jammed_with(Setup {
        world,
        ..Setup::default()
    })
    .await;
    let ambush = Arc::new(Ambush {
        write,
        seen: AtomicUsize::new(0),
        caught: SetOnce::new(),
        let_go: SetOnce::new(),
        freeze: SetOnce::new(),
    });
    let pass = ambush.clone();
    let pass = script(move |call| pass.clone().pass(call));
    let proxy = Proxy::start(stage.user(), pass);
    let first = Daemon::start(proxy.kubeconfig(), &settings().yaml()).await;
    leads(&first).await;
    let second = second(&stage).await;

    // Both show the same, but only one accepts alerts.
    let alert = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
    let (code, answer) = second.post(&alert).await;
    assert_eq!(code, 503, "{answer}");
    both_show_the_same(&first, &second).await;

    let signals = first.signals();
    assert!(ambush.freeze.set(Box::new(first.signals())).is_ok());
    // A frozen replica does not respond, so Alertmanager sends to all.
    let telling = async {
        first.notify(&alert).await;
        std::future::pending::<()>().await;
    };
    let caught = tokio::select! {
        () = telling => unreachable!(),
        caught = tokio::time::timeout(PATIENCE, ambush.caught.wait()) => caught,
    };
    let caught = caught.expect("that write is made").clone();
    leads(&second).await;
    second.notify(&alert).await;
    // The other one acts before the write arrives.
    let audit = stage.testbed.audit();
    let acts = |event: &Event| {
        event.user == OTHER
            && event.is_write()
            && !matches!(&*event.resource, "leases" | "events")
            && event.code < 300
    };
    audit.expect("the second replica to act", acts).await;
    ambush.let_go.set(()).unwrap();
    signals(Signal::CONT);

    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{caught}: {status:#?}");
    assert!(status.verdict.iter().all(|check| check.passed));
    stage.pending_are_bound().await;
    let stuck = stage.jam.stuck_snapshots.iter().map(|one| one.uid.clone());
    let deleted = stage.deleted().await;
    assert_eq!(deleted["volumesnapshots"], stuck.collect());
    // Both of the two pods, or none.
    let pods = deleted.get("pods").map(BTreeSet::len);
    assert_eq!(pods, (layout == Layout::OperatorManaged).then_some(2));
    let rollouts = usize::from(layout == Layout::Classic);
    assert_eq!(stage.restarts().await.len(), rollouts);
    first
        .until("the first to know that it does not lead", |samples| {
            samples["locksmith_leader"] == 0.0
        })
        .await;
    nothing_after_the_successor(&stage).await;
    stage.forget_run().await;
    stage.released().await;
}

/// Asserts for each object that no write of the first replica succeeded after the first one of the second.
async fn nothing_after_the_successor(stage: &Stage) {
    let mut taken_over = BTreeMap::new();
    let mut late = Vec::new();
    for event in stage.writes_of(&[USER, OTHER]).await {
        // Events report decisions, and are not decisions themselves.
        if event.code >= 300 || event.resource == "events" {
            continue;
        }
        let object = (
            event.resource.clone(),
            event.namespace.clone(),
            event.name.clone(),
        );
        if event.user == OTHER {
            taken_over
                .entry(object)
                .or_insert_with(|| event.uri.clone());
        } else if let Some(before) = taken_over.get(&object) {
            late.push(format!("{} {} after {before}", event.verb, event.uri));
        }
    }
    assert!(taken_over.len() > 2, "{taken_over:#?}");
    assert!(late.is_empty(), "{late:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn terminated_leader_hands_over_during_a_step() {
    let stage = Stage::jammed().await;
    let first = stage.daemon(&settings()).await;
    let second = second(&stage).await;
    stage.fire(&first).await;
    stage.first_hold().await;
    let ended = tokio::time::timeout(GRACE, first.terminate()).await;
    let ended = ended.expect("it ends within the grace period");
    assert!(ended.success(), "{ended:?}");
    let leases: Api<Lease> = Api::namespaced(stage.testbed.client(), NAMESPACE);
    let transitions = |lease: &Lease| lease.spec.as_ref()?.lease_transitions;
    let lease = leases.get(LEASE_NAME).await.unwrap();
    leads(&second).await;
    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    assert!(
        status.term > transitions(&lease).map(|n| n - 1),
        "{status:#?}"
    );
    let released = |event: &&Event| {
        let holder = event
            .request_body
            .as_ref()?
            .pointer("/spec/holderIdentity")?;
        (event.user == USER && holder == "").then_some(())
    };
    let all = stage.writes_of(&[USER, OTHER]).await;
    assert!(all.iter().any(|event| released(&event).is_some()));
    nothing_after_the_successor(&stage).await;
}
