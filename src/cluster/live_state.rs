//! Uncached reads of objects and logs whose absence is evidence.

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};

use super::bounded;
use crate::api::SharedStr;
use crate::api::snapshot::VolumeSnapshot;
use crate::config::Config;
use crate::model::Model;
use crate::model::records::Snapshot;
use crate::run_context::{LiveState, TailRefusal};
use crate::state::Store;
use crate::watch::{Guarded, Patterns, snapshot_record};

/// Maximum number of bytes read of a log's tail, as lines may have any length.
const TAIL_BYTES: i64 = 1 << 20;

/// Page size of a list of snapshots.
const PAGE: u32 = 500;

/// Reads VolumeSnapshots, and the logs of the provisioner of `logs_of`, as requested.
pub async fn read_live_state(
    client: &Client,
    store: &Store,
    patterns: &Patterns,
    config: &Config,
    logs_of: Option<&SharedStr>,
) -> LiveState {
    let at = Timestamp::now();
    let refusals = async {
        let driver = logs_of?;
        let Some(container) = config.drivers.log_container(driver) else {
            return Some(Ok(Vec::new()));
        };
        let replicas = store.read(|model| running_replicas(model, driver));
        Some(refusals(client, patterns, config, (driver, &container), replicas).await)
    };
    let (snapshots, refusals) = tokio::join!(snapshots(client, patterns), refusals);
    LiveState {
        at,
        snapshots,
        refusals,
        proof: None,
    }
}

async fn snapshots(client: &Client, patterns: &Patterns) -> Result<Vec<Snapshot>, String> {
    let api: Api<Guarded<VolumeSnapshot>> = Api::all(client.clone());
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = bounded("list", || "VolumeSnapshots".to_owned(), api.list(&params)).await;
        let page = page.map_err(|error| error.to_string())?;
        all.extend(
            page.items
                .iter()
                .filter_map(Guarded::parsed)
                .filter_map(|snapshot| snapshot_record(snapshot, patterns)),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Namespace and name of the pods whose logs can be read. An evicted pod, or one of a node that was shut down, keeps its object
/// and loses its log.
fn running_replicas(model: &Model, driver: &SharedStr) -> Vec<(SharedStr, SharedStr)> {
    let provisioner = model.provisioner(driver);
    let replicas = provisioner.iter().flat_map(|of| model.replicas(of));
    replicas
        .map(|replica| replica.pod)
        .filter(|pod| pod.running)
        .map(|pod| (pod.meta.namespace.clone(), pod.meta.name.clone()))
        .collect()
}

async fn refusals(
    client: &Client,
    patterns: &Patterns,
    config: &Config,
    (driver, container): (&SharedStr, &SharedStr),
    replicas: Vec<(SharedStr, SharedStr)>,
) -> Result<Vec<TailRefusal>, String> {
    if replicas.is_empty() {
        return Err(format!("no pod of the provisioner of {driver} is running"));
    }
    let lines = i64::from(config.steps.verdict.log_lines);
    let tails = replicas.into_iter().map(|(namespace, pod)| async move {
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let params = LogParams {
            container: Some(container.to_string()),
            tail_lines: Some(lines),
            limit_bytes: Some(TAIL_BYTES),
            ..LogParams::default()
        };
        let tail = bounded(
            "read the log of",
            || format!("Pod {namespace}/{pod}"),
            api.logs(&pod, &params),
        );
        let tail = tail.await.map_err(|error| error.to_string())?;
        let keys = tail
            .lines()
            .filter_map(|line| patterns.of(Some(driver)).find(line));
        Ok(keys
            .map(|key| TailRefusal {
                pod: pod.clone(),
                key,
            })
            .collect::<Vec<_>>())
    });
    let tails: Result<Vec<_>, String> = join_all(tails).await.into_iter().collect();
    Ok(tails?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::{DRIVER, LEADER, PROVISIONER, World, replica};

    /// A node evicts the pods of its provisioner; the log of such a pod is refused, and the verdict failed.
    #[test]
    fn logs_of_ended_pods_are_not_read() {
        let evicted = replica(PROVISIONER, "7d9f8b6c5d", "evict").finished();
        let world = World::rook().with(evicted);
        let read = running_replicas(&world.0, &DRIVER.into());
        let names: Vec<_> = read.iter().map(|(_, name)| &**name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&LEADER), "{names:?}");
    }

    /// The verdict of such a driver failed, since no log could be read.
    #[test]
    fn some_drivers_have_no_known_log_container() {
        let config = Config::default();
        let container = |driver: &str| config.drivers.log_container(driver);
        assert_eq!(container("topolvm.io"), None);
        assert_eq!(container(DRIVER).as_deref(), Some("csi-rbdplugin"));
    }
}
