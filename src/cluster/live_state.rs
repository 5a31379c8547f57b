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
use crate::watch::{Patterns, snapshot_record};

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
        let replicas = store.read(|model| replicas(model, config, driver));
        Some(refusals(client, patterns, config, driver, replicas).await)
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
    let api: Api<VolumeSnapshot> = Api::all(client.clone());
    let mut all = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = bounded("list", || "VolumeSnapshots".to_owned(), api.list(&params)).await;
        let page = page.map_err(|error| error.to_string())?;
        all.extend(
            page.items
                .iter()
                .filter_map(|snapshot| snapshot_record(snapshot, patterns)),
        );
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

/// Namespace, pod and container of a log.
type Replica = (SharedStr, SharedStr, SharedStr);

fn replicas(model: &Model, config: &Config, driver: &SharedStr) -> Option<Vec<Replica>> {
    let container = config.drivers.find(driver)?.log_container(driver)?;
    let provisioner = model.provisioner(driver)?;
    let pods = model
        .replicas(&provisioner)
        .map(|replica| &replica.pod.meta);
    Some(
        pods.map(|pod| (pod.namespace.clone(), pod.name.clone(), container.clone()))
            .collect(),
    )
}

async fn refusals(
    client: &Client,
    patterns: &Patterns,
    config: &Config,
    driver: &SharedStr,
    replicas: Option<Vec<Replica>>,
) -> Result<Vec<TailRefusal>, String> {
    let replicas = replicas.filter(|replicas| !replicas.is_empty());
    let replicas =
        replicas.ok_or_else(|| format!("no pod of the provisioner of {driver} is known"))?;
    let lines = i64::from(config.steps.verdict.log_lines);
    let tails = replicas
        .into_iter()
        .map(|(namespace, pod, container)| async move {
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
