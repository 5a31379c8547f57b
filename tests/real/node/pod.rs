//! The life cycle of a pod: bind, start, restart a process that has ended, stop with the grace period.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use locksmith::demo::world::PodRef;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::container::Running;
use super::{Shared, lock, schedule, status};

/// A kubelet's first delay before it restarts a container is 10 s; nothing here depends on it.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Time from the terminal phase of a deleted pod to the removal of its object. A real kubelet removes the object only after it
/// has torn down the pod's volumes, which takes about a second or more.
const TEARDOWN: Duration = Duration::from_secs(1);

/// Pause before a failed write is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How a pod ended.
enum End {
    /// Its deletion was requested.
    Deleted,
    /// Its work is done.
    Done,
}

/// Simulates the life cycle of `pod`; `changes` has its current state, or `None` once it is deleted.
pub(super) async fn live(shared: Arc<Shared>, pod: Pod, mut changes: watch::Receiver<Option<Pod>>) {
    let kubelet = Kubelet { shared, pod };
    let bound = tokio::select! {
        () = ending(&mut changes) => None,
        node = kubelet.bind() => node,
    };
    if let Some(node) = bound {
        kubelet.run(&node, &mut changes).await;
    }
    if changes.borrow().is_some() && ending_now(&changes) {
        kubelet.remove().await;
    }
    kubelet.shared.logs.end(&PodRef::of(&kubelet.pod));
    lock(&kubelet.shared.placement).forget(&kubelet.pod);
}

/// Returns once the deletion of the pod is requested, or it is gone.
async fn ending(changes: &mut watch::Receiver<Option<Pod>>) {
    // The sender is dropped only after it has sent the end.
    let _ = changes.wait_for(|pod| leaves(pod.as_ref())).await;
}

fn ending_now(changes: &watch::Receiver<Option<Pod>>) -> bool {
    leaves(changes.borrow().as_ref())
}

fn leaves(pod: Option<&Pod>) -> bool {
    pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

struct Kubelet {
    shared: Arc<Shared>,
    pod: Pod,
}

impl Kubelet {
    fn api(&self) -> Api<Pod> {
        let namespace = self.pod.namespace().unwrap_or_default();
        Api::namespaced(self.shared.client.clone(), &namespace)
    }

    /// Binds the pod once its claims are bound; returns the name of the node.
    async fn bind(&self) -> Option<String> {
        schedule::claims_bound(&self.shared.client, &self.pod).await;
        let node = lock(&self.shared.placement).place(&self.pod);
        let binding = schedule::binding(&self.pod, node);
        let (api, name) = (self.api(), self.pod.name_any());
        let bind = || api.create_subresource::<Value, Value>("binding", &name, &POST, &binding);
        persist(bind).await.map(|_| node.to_owned())
    }

    async fn run(&self, node: &str, changes: &mut watch::Receiver<Option<Pod>>) {
        let pod_ref = PodRef::of(&self.pod);
        let count = self
            .pod
            .spec
            .as_ref()
            .map_or(0, |spec| spec.containers.len());
        let mut restarts = vec![0; count];
        let (ends, mut ended) = mpsc::unbounded_channel();
        for container in self.pod.spec.iter().flat_map(|spec| &spec.containers) {
            self.shared.logs.begin(&pod_ref, &container.name);
        }
        let start = |index| Running::start(&self.shared, &self.pod, node, index, &ends);
        let mut processes: Vec<_> = (0..count).filter_map(start).collect();
        self.write(status::running(&self.pod, &restarts)).await;
        let uid = self.pod.uid().unwrap_or_default();
        lock(&self.shared.ready).insert(uid, Timestamp::now());
        let done = self.done_at();
        let end = loop {
            tokio::select! {
                () = ending(changes) => break End::Deleted,
                () = sleep_until(done.unwrap_or_else(Instant::now)), if done.is_some() => break End::Done,
                Some(index) = ended.recv() => {
                    self.collect(&mut processes, index);
                    restarts[index] += 1;
                    sleep(RESTART_AFTER).await;
                    processes.extend(start(index));
                    self.write(status::running(&self.pod, &restarts)).await;
                }
            }
        };
        match end {
            End::Done => {
                let first = self
                    .pod
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.containers.first());
                let name = first
                    .map(|container| container.name.clone())
                    .unwrap_or_default();
                self.shared
                    .logs
                    .append(&pod_ref, &name, "Restic completed in 1s");
                self.write(status::ended(&self.pod, 0, &restarts)).await;
                ending(changes).await;
            }
            End::Deleted => {
                self.count_killed();
                self.stop(processes, &mut ended, changes).await;
                self.write(status::ended(&self.pod, 143, &restarts)).await;
                // The pod of a finished job has no such pause: its volumes were torn down when it ended.
                sleep(TEARDOWN).await;
            }
        }
    }

    /// Sends SIGTERM, then SIGKILL to processes that run after the grace period; returns when all have ended.
    async fn stop(
        &self,
        mut processes: Vec<Running>,
        ended: &mut mpsc::UnboundedReceiver<usize>,
        changes: &watch::Receiver<Option<Pod>>,
    ) {
        let grace = changes
            .borrow()
            .as_ref()
            .and_then(|pod| pod.metadata.deletion_grace_period_seconds);
        let grace = u64::try_from(grace.unwrap_or_default()).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(grace);
        processes.iter().for_each(Running::terminate);
        while !processes.is_empty() {
            tokio::select! {
                Some(index) = ended.recv() => self.collect(&mut processes, index),
                () = sleep_until(deadline) => {
                    processes.drain(..).for_each(|one| one.kill(&self.shared));
                }
            }
        }
    }

    /// Removes the process of container `index`, which has ended.
    fn collect(&self, processes: &mut Vec<Running>, index: usize) {
        let position = processes.iter().position(|one| one.index == index);
        if let Some(position) = position {
            processes.swap_remove(position).kill(&self.shared);
        }
    }

    /// Time at which the work of a Job's pod is done; `None` for pods that run until they are deleted.
    fn done_at(&self) -> Option<Instant> {
        let movers = &self.shared.movers;
        let job = self.job()?;
        (!movers.endless.contains(&job)).then(|| Instant::now() + movers.lasts)
    }

    fn job(&self) -> Option<String> {
        let owner = self
            .pod
            .owner_references()
            .iter()
            .find(|owner| owner.kind == "Job")?;
        Some(format!("{}/{}", self.pod.namespace()?, owner.name))
    }

    fn count_killed(&self) {
        if let Some(job) = self.job() {
            lock(&self.shared.killed).push(job);
        }
    }

    async fn write(&self, status: Value) {
        let (api, name, patch) = (self.api(), self.pod.name_any(), Patch::Merge(status));
        persist(|| api.patch_status(&name, &PATCH, &patch)).await;
    }

    /// The last write of a kubelet: removes the pod once nothing of it is left on the node.
    async fn remove(&self) {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: self.pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default().grace_period(0)
        };
        let (api, name) = (self.api(), self.pod.name_any());
        persist(|| api.delete(&name, &params)).await;
    }
}

const PATCH: PatchParams = PatchParams {
    dry_run: false,
    force: false,
    field_manager: None,
    field_validation: None,
};
const POST: PostParams = PostParams {
    dry_run: false,
    field_manager: None,
};

/// Repeats the write until it succeeds; `None` if the object no longer exists.
async fn persist<T, F: Future<Output = kube::Result<T>>>(
    mut write: impl FnMut() -> F,
) -> Option<T> {
    loop {
        match write().await {
            Ok(done) => return Some(done),
            // Deleted, replaced by another pod with this name (409, or 422 of a status), or already bound.
            Err(kube::Error::Api(status)) if [404, 409, 422].contains(&status.code) => return None,
            Err(error) => {
                eprintln!("node: {error}");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}
