//! Nodes for the tests: bind and run pods, serve their logs, and end them.
//!
//! One actor simulates the scheduler and the kubelets of three nodes. A container whose image is called `testbed/<binary>`
//! runs that binary, under the host name that its pod would have; every other container only has a name. Pods of Jobs,
//! which are VolSync's movers, succeed after a set time. Processes end with the test, however it ends.

mod container;
mod logs;
mod pod;
mod schedule;
mod status;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use locksmith::demo::world::Logs;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::testbed::process::Guard;
use crate::testbed::{Identity, Testbed};

use container::Hostnames;
use schedule::Placement;

/// The nodes.
pub const NODES: [&str; 3] = ["k8s-0", "k8s-1", "k8s-2"];

/// How the pods of Jobs behave.
pub struct Movers {
    /// Time from the start of a pod to its success.
    pub lasts: Duration,
    /// Jobs, by `<namespace>/<name>`, whose pods run until they are deleted.
    pub endless: BTreeSet<String>,
}

/// The running actor. Dropping it kills every process.
pub struct Node {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    client: Client,
    logs: Logs,
    movers: Movers,
    hostnames: Hostnames,
    /// Paths in a container's arguments, with their paths on this machine.
    mounts: Vec<(&'static str, PathBuf)>,
    directory: PathBuf,
    binaries: PathBuf,
    placement: Mutex<Placement>,
    killed: Mutex<Vec<String>>,
    /// Times at which pods became Ready, by uid.
    ready: Mutex<HashMap<String, Timestamp>>,
    /// `None` once the node is dropped.
    guard: Mutex<Option<Guard>>,
}

impl Node {
    /// Starts the actor. Containers find the CSI driver's state in `/cluster`, and log in with `/account/kubeconfig`.
    pub async fn start(
        testbed: &Testbed,
        account: &Identity,
        cluster: &Path,
        movers: Movers,
    ) -> Self {
        // A short path, since that of a socket has at most 107 bytes.
        let directory = tempfile::Builder::new()
            .prefix("node-")
            .tempdir()
            .unwrap()
            .keep();
        let guard = Guard::new(&directory);
        let logs = Logs::default();
        let server = logs::Server::bind(logs.clone()).await;
        let shared = Arc::new(Shared {
            client: testbed.client(),
            logs,
            movers,
            hostnames: Hostnames::detect(),
            mounts: vec![
                ("/cluster", cluster.to_owned()),
                ("/account/kubeconfig", account.kubeconfig().to_owned()),
            ],
            directory,
            binaries: crate::stack::built().join("bin"),
            placement: Mutex::default(),
            killed: Mutex::default(),
            ready: Mutex::default(),
            guard: Mutex::new(Some(guard)),
        });
        for name in NODES {
            register(&shared.client, name, server.port()).await;
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve());
        tasks.spawn(follow_pods(shared.clone()));
        Self {
            shared,
            _tasks: tasks,
        }
    }

    /// Pods of Jobs that were deleted before they had succeeded, by `<namespace>/<name>`.
    pub fn killed_movers(&self) -> Vec<String> {
        lock(&self.shared.killed).clone()
    }

    /// Time at which the pod became Ready; its status has only whole seconds.
    pub fn ready_since(&self, uid: &str) -> Option<Timestamp> {
        lock(&self.shared.ready).get(uid).copied()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        lock(&self.shared.guard).take();
    }
}

/// Creates a Ready Node. No controller here treats a missing heartbeat as a dead node.
async fn register(client: &Client, name: &str, port: u16) {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
    let node = json!({"metadata": {"name": name, "labels": labels}});
    let node = serde_json::from_value(node).unwrap();
    nodes.create(&Default::default(), &node).await.unwrap();
    let patch = kube::api::Patch::Merge(status::node(port));
    nodes
        .patch_status(name, &Default::default(), &patch)
        .await
        .unwrap();
}

/// Starts a task for each pod, which receives its changes; `None` is its deletion.
async fn follow_pods(shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut pods: HashMap<String, watch::Sender<Option<Pod>>> = HashMap::new();
    let mut listed = BTreeSet::new();
    let api: Api<Pod> = Api::all(shared.client.clone());
    let mut events = watcher::watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                listed.insert(uid.clone());
                if let Some(known) = pods.get(&uid) {
                    known.send_replace(Some(pod));
                } else {
                    let (sender, changes) = watch::channel(Some(pod.clone()));
                    pods.insert(uid, sender);
                    tasks.spawn(pod::live(shared.clone(), pod, changes));
                }
            }
            Ok(Event::InitDone) => pods.retain(|uid, pod| {
                listed.contains(uid) || {
                    pod.send_replace(None);
                    false
                }
            }),
            Ok(Event::Delete(pod)) => {
                if let Some(known) = pods.remove(&pod.uid().unwrap_or_default()) {
                    known.send_replace(None);
                }
            }
            Err(error) => eprintln!("node: failed to watch pods: {error}"),
        }
        while tasks.try_join_next().is_some() {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
