//! A jam without actors on a real API server: objects with their status, a provisioner that consists of two pods and their
//! logs, and the program as a separate process.

mod kubelet;
pub mod objects;
mod provisioner;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::{Remediation, RemediationStatus};
use locksmith::holds::policy;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::testbed::{Event, Identity, Options, Testbed};
pub use kubelet::Kubelet;
use objects::Object;
pub use provisioner::Provisioner;

/// Namespace of the Remediations and the Lease.
pub const NAMESPACE: &str = "volsync-locksmith";

/// The CSI driver.
pub const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// Size of a jam.
#[derive(Clone, Copy)]
pub struct Jam {
    /// Number of ReplicationSources, each with a Bound claim.
    pub sources: usize,
    /// Number of sources with a failed snapshot.
    pub failed: usize,
    /// Number of Pending claims, each restored from a ready snapshot.
    pub pending: usize,
}

/// A control plane with a jam.
pub struct Ground {
    pub kubelet: Kubelet,
    pub testbed: Testbed,
}

impl Ground {
    /// A control plane with only a provisioner. No controller runs, so that only the API server and its clients take time.
    pub async fn new() -> Self {
        Self::serving(Vec::new()).await
    }

    /// The same with these definitions instead of those with the same names.
    pub async fn serving(mut crds: Vec<CustomResourceDefinition>) -> Self {
        crds.extend([Remediation::crd(), SnapshotHold::crd()]);
        let options = Options {
            controllers: false,
            crds,
            ..Options::default()
        };
        let testbed = Box::pin(Testbed::start(options)).await;
        let kubelet = Kubelet::start().await;
        let client = testbed.client();
        let (policy, binding) = policy::objects(NAMESPACE).unwrap();
        let params = kube::api::PostParams::default();
        Api::all(client.clone())
            .create(&params, &policy)
            .await
            .unwrap();
        Api::all(client.clone())
            .create(&params, &binding)
            .await
            .unwrap();
        objects::create(&client, objects::ground(NAMESPACE, kubelet.port())).await;
        provisioner::install(&client).await;
        Self { kubelet, testbed }
    }

    /// Creates the jam; returns its sources once everything exists.
    pub async fn jam(&self, jam: Jam) -> Vec<Value> {
        let client = self.client();
        objects::create(&client, (0..jam.sources).map(objects::claim).collect()).await;
        let sources = (0..jam.sources).map(objects::source).collect();
        let sources = objects::create(&client, sources).await;
        self.fail_snapshots(&sources[..jam.failed]).await;
        let restores = (0..jam.pending).flat_map(objects::restore);
        objects::create(&client, restores.collect()).await;
        sources
    }

    /// Adds a failing snapshot for each of these, which are the first sources of a jam.
    pub async fn fail_snapshots(&self, sources: &[Value]) {
        let client = self.client();
        let failed = sources.iter().enumerate();
        let failed = failed.map(|(at, source)| objects::failed_snapshot(at, source));
        let snapshots = objects::create(&client, failed.collect()).await;
        let contents = snapshots.iter().map(objects::refused_content).collect();
        objects::create(&client, contents).await;
    }

    /// A client of the administrator.
    pub fn client(&self) -> Client {
        self.testbed.client()
    }

    /// A service account with all rights and a token, like a pod's.
    pub async fn service_account(&self, name: &str) -> Identity {
        objects::create(&self.client(), objects::account(NAMESPACE, name)).await;
        self.testbed.service_account(NAMESPACE, name).await
    }

    /// The program as `user`, once it leads and observes this number of stuck objects.
    pub async fn daemon(&self, user: &Identity, config: &str, stuck: usize) -> Daemon {
        let daemon = Daemon::start(user.kubeconfig(), config).await;
        daemon
            .until("the jam to be seen by a leader", |samples| {
                let of = |prefix: &str| {
                    let all = samples.iter().filter(|(name, _)| name.starts_with(prefix));
                    all.map(|(_, value)| value).sum::<f64>()
                };
                of("locksmith_stuck_operations{") >= stuck as f64 && of("locksmith_leader") > 0.0
            })
            .await;
        daemon
    }

    /// Creates a run, as a person does.
    pub async fn ask(&self, name: &str, playbook: &str) {
        let run = json!({
            "apiVersion": "locksmith.dev/v1alpha1",
            "kind": "Remediation",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "playbook": playbook, "driver": DRIVER, "trigger": { "person": "bench" } },
        });
        let path = format!("/apis/locksmith.dev/v1alpha1/namespaces/{NAMESPACE}/remediations");
        objects::create(&self.client(), vec![Object::new(path, run)]).await;
    }

    /// The status of a run, once `wanted` accepts it.
    pub async fn run_until(
        &self,
        name: &str,
        wanted: impl Fn(&RemediationStatus) -> bool,
    ) -> RemediationStatus {
        let api: Api<Remediation> = Api::namespaced(self.client(), NAMESPACE);
        loop {
            let run = api.get(name).await.unwrap();
            if let Some(status) = run.status.filter(&wanted) {
                return status;
            }
            // The record is large, so that frequent reads would affect the measurement.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }

    /// The requests of the service account with that name so far, in the order of the responses.
    pub async fn requests_of(&self, name: &str) -> Vec<Event> {
        let account = format!("system:serviceaccount:{NAMESPACE}:{name}");
        // The log is delayed: once it contains this request, it contains all earlier ones.
        let marker = format!("marker-{}", Timestamp::now().as_nanosecond());
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client());
        assert_eq!(namespaces.get_opt(&marker).await.unwrap(), None);
        let seen = |event: &Event| event.name == marker;
        let mut events = self.testbed.audit().until("the marker", seen).await;
        events.retain(|event| event.user == account);
        events
    }
}

/// The configuration of benches: all gates are open, and there are no pauses.
pub fn config(more: &str) -> String {
    format!(
        "
mode: act
remediation: {{namespace: {NAMESPACE}, keep: 1000}}
detect: {{pendingAfter: 1s, failedAfter: 1s, orphanedAfter: 1s, lockedAfter: 1s}}
steps:
  suspendSources: {{settle: 0s, deadline: 1h}}
  deleteFailedSnapshots: {{settle: 0s}}
  resumeSources: {{when: bound, batch: 100000, every: 1ms}}
  verdict: {{within: 5s}}
gates: {{maxDeletions: 1000, maxDeletionsShare: 100%, cooldown: 0s, minimumAge: 0s, progressWithin: 0s, breakerAfter: 1000,
  budgets: {{perCluster: 1000, perPlaybook: 1000, perObject: 1000}}}}
{more}
"
    )
}

/// Seconds from one moment to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Whether a run has finished and holds nothing.
pub fn over(status: &RemediationStatus) -> bool {
    status.phase.finished() && status.holds.is_empty()
}

/// Seconds from the first time until the response to each write to an object of the cluster before the second time.
pub fn written(events: &[Event], [begun, ended]: [Timestamp; 2]) -> Vec<f64> {
    let written = events
        .iter()
        .filter(|event| touches_the_cluster(event))
        .filter(|event| event.received >= begun && event.received <= ended);
    let mut written: Vec<_> = written.map(|it| seconds(begun, it.answered)).collect();
    written.sort_by(f64::total_cmp);
    written
}

/// Whether the request changed an object of the cluster, other than the program's record, its Lease or an Event.
fn touches_the_cluster(event: &Event) -> bool {
    let own = ["remediations", "leases", "events"].contains(&&*event.resource);
    event.is_write() && !own && event.code < 300
}

/// A value at a path of an object, as text.
fn text(of: &Value, path: &str) -> String {
    let value = of.pointer(path).and_then(Value::as_str);
    value
        .unwrap_or_else(|| panic!("no {path} in {of}"))
        .to_owned()
}
