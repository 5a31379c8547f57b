//! locksmith and kube-state-metrics on the same objects of the same API server, one after the other.
//!
//! The objects are written to etcd, since a quarter of a million requests would take most of the bench.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::figures::{Row, Spread, cpu, duration, memory, short, size};
use crate::server::{Ground, objects};
use crate::testbed::Store;
use crate::testbed::controlplane::{flags, free_port};

/// Number of claims. There are as many snapshots, and a source for every tenth.
fn claims() -> usize {
    size(100_000)
}

const SCRAPES: usize = 7;
/// Number of claims changed per second, and the duration.
const RATE: usize = 500;
const CHURN: Duration = Duration::from_secs(20);
/// Interval of checking whether an exporter is ready.
const POLL: Duration = Duration::from_millis(100);
/// Time after the start until temporary memory is released.
const SETTLED: Duration = Duration::from_secs(10);

/// The kinds that kube-state-metrics does not support by itself.
const CUSTOM: &str = "
kind: CustomResourceStateMetrics
spec:
  resources:
    - groupVersionKind: {group: snapshot.storage.k8s.io, version: v1, kind: VolumeSnapshot}
      labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
      metrics:
        - name: ready
          each: {type: Gauge, gauge: {path: [status, readyToUse]}}
    - groupVersionKind: {group: volsync.backube, version: v1alpha1, kind: ReplicationSource}
      labelsFromPath: {namespace: [metadata, namespace], name: [metadata, name]}
      metrics:
        - name: last_sync_time
          each: {type: Gauge, gauge: {path: [status, lastSyncTime]}}
";

/// Cost of an exporter.
struct Costs {
    /// Seconds from its start until it serves all objects.
    ready: f64,
    /// Resident memory for the objects, in bytes.
    memory: f64,
    /// Bytes of a scrape.
    body: usize,
    /// Seconds of a scrape.
    scrape: Spread,
    /// Seconds of processor time for an event.
    event: f64,
}

pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    let store = ground.testbed.store();
    let empty = [Locksmith::start(&ground).await.empty().await, {
        KubeStateMetrics::start(&ground).empty().await
    }];
    let begun = Instant::now();
    let claims = claims();
    for from in (0..claims).step_by(1000) {
        store.put((from..claims.min(from + 1000)).flat_map(entries).collect());
    }
    let count = claims * 2 + claims / 10;
    println!(
        "{count} objects stored in {} s",
        short(begun.elapsed().as_secs_f64())
    );

    let ours = costs(&store, Locksmith::start(&ground).await, empty[0]).await;
    let theirs = costs(&store, KubeStateMetrics::start(&ground), empty[1]).await;
    let kib = |bytes: usize| format!("{:.0} KiB", bytes as f64 / 1024.0);
    let each = |bytes: f64| format!("{:.0} B", bytes / count as f64);
    let row = |what: &str, ours: String, theirs: String, ratio: f64| {
        let beside = format!("kube-state-metrics: {theirs}");
        Row::new(what, ours, &beside, &format!("1/{}", short(ratio)))
    };
    vec![
        row(
            &format!("body of a scrape, {claims} claims, as many snapshots"),
            kib(ours.body),
            kib(theirs.body),
            theirs.body as f64 / ours.body as f64,
        ),
        row(
            "time of that scrape",
            format!("{} ms", ours.scrape.scaled(1e3)),
            format!("{} ms", theirs.scrape.scaled(1e3)),
            theirs.scrape.median / ours.scrape.median,
        ),
        row(
            "resident memory per object of that cluster",
            each(ours.memory),
            each(theirs.memory),
            theirs.memory / ours.memory,
        ),
        row(
            "start to ready",
            format!("{} s", short(ours.ready)),
            format!("{} s", short(theirs.ready)),
            theirs.ready / ours.ready,
        ),
        row(
            &format!("processor time of an event, {RATE} a second"),
            format!("{} ms", short(ours.event * 1e3)),
            format!("{} ms", short(theirs.event * 1e3)),
            theirs.event / ours.event,
        ),
    ]
}

/// A process that serves metrics about the objects of a cluster.
trait Exporter {
    fn pid(&self) -> u32;
    fn metrics(&self) -> String;
    /// Seconds from its start until it serves all objects.
    async fn ready(&self, objects: usize) -> f64;

    /// Bytes of resident memory without any object.
    async fn empty(self) -> f64
    where
        Self: Sized,
    {
        self.ready(0).await;
        tokio::time::sleep(duration(SETTLED)).await;
        memory(self.pid(), "VmRSS")
    }
}

async fn costs(store: &Store, exporter: impl Exporter, empty: f64) -> Costs {
    let ready = exporter.ready(claims() * 2).await;
    tokio::time::sleep(duration(SETTLED)).await;
    let resident = memory(exporter.pid(), "VmRSS");
    let url = exporter.metrics();
    let body = scrape(&url).len();
    let scrape = Spread::times(SCRAPES, || drop(scrape(&url)));

    let (begun, before) = (Instant::now(), cpu(exporter.pid()));
    let mut events = 0;
    while begun.elapsed() < duration(CHURN) {
        let due = usize::try_from(begun.elapsed().as_millis()).unwrap() * RATE / 1000;
        let claims = (events..due).map(|at| claim(at % claims(), &format!("round-{events}")));
        store.put(claims.collect());
        events = due;
        tokio::time::sleep(POLL).await;
    }
    let event = (cpu(exporter.pid()) - before) / events as f64;
    Costs {
        ready,
        memory: resident - empty,
        body,
        scrape,
        event,
    }
}

fn scrape(url: &str) -> String {
    let mut answer = ureq::get(url).call().unwrap();
    let body = answer.body_mut().with_config().limit(u64::MAX);
    body.read_to_string().unwrap()
}

struct Locksmith {
    daemon: Daemon,
    begun: Instant,
}

impl Locksmith {
    async fn start(ground: &Ground) -> Self {
        let begun = Instant::now();
        let kubeconfig = ground.testbed.kubeconfig();
        let daemon = Daemon::start(kubeconfig, "mode: observe\n").await;
        Self { daemon, begun }
    }
}

impl Exporter for Locksmith {
    fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    fn metrics(&self) -> String {
        self.daemon.url("/metrics")
    }

    async fn ready(&self, _: usize) -> f64 {
        while self.daemon.get("/readyz").await.0 != 200 {
            tokio::time::sleep(POLL).await;
        }
        self.begun.elapsed().as_secs_f64()
    }
}

/// Killed when dropped.
struct KubeStateMetrics {
    child: Child,
    port: u16,
    begun: Instant,
    directory: tempfile::TempDir,
}

impl KubeStateMetrics {
    fn start(ground: &Ground) -> Self {
        let (port, telemetry) = (free_port(), free_port());
        let directory = tempfile::tempdir().unwrap();
        let custom = directory.path().join("custom.yaml");
        std::fs::write(&custom, CUSTOM).unwrap();
        let begun = Instant::now();
        let child = Command::new(ground.testbed.binary("kube-state-metrics"))
            .args(flags([
                (
                    "kubeconfig",
                    ground.testbed.kubeconfig().display().to_string(),
                ),
                ("host", "127.0.0.1".to_owned()),
                ("port", port.to_string()),
                ("telemetry-host", "127.0.0.1".to_owned()),
                ("telemetry-port", telemetry.to_string()),
                ("resources", "persistentvolumeclaims".to_owned()),
                (
                    "custom-resource-state-config-file",
                    custom.display().to_string(),
                ),
            ]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            begun,
            directory,
        }
    }
}

impl Exporter for KubeStateMetrics {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn metrics(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.port)
    }

    /// Its `/readyz` responds before it has listed anything, so its metrics are counted instead.
    async fn ready(&self, objects: usize) -> f64 {
        let limit = Duration::from_secs(300);
        loop {
            let ready = self.begun.elapsed().as_secs_f64();
            if let Ok(mut answer) = ureq::get(self.metrics()).call() {
                let body = answer.body_mut().with_config().limit(u64::MAX);
                let body = body.read_to_string().unwrap();
                let served = body.lines().filter(|line| {
                    line.starts_with("kube_persistentvolumeclaim_info{")
                        || line.starts_with("kube_customresource_ready{")
                });
                if served.count() >= objects {
                    return ready;
                }
            }
            let log = || std::fs::read_to_string(self.directory.path().join("log"));
            assert!(self.begun.elapsed() < limit, "{}", log().unwrap());
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for KubeStateMetrics {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The claim of that number, its snapshot and, for every tenth, its source, as the API server stores them.
fn entries(at: usize) -> Vec<(String, Value)> {
    let mut entries = vec![claim(at, "first"), snapshot(at)];
    if at.is_multiple_of(10) {
        entries.push(source(at));
    }
    entries
}

fn metadata(at: usize, name: &str, uid: &str) -> Value {
    json!({
        "name": name, "namespace": objects::namespace(at),
        "uid": format!("{at:08x}-0000-4000-8000-{uid:0>12}"),
        "creationTimestamp": format!("{:.0}", Timestamp::UNIX_EPOCH),
        "labels": { "app.kubernetes.io/name": objects::app(at) },
    })
}

fn claim(at: usize, round: &str) -> (String, Value) {
    let mut body = objects::pending(&objects::app(at), None);
    body["metadata"] = metadata(at, &objects::app(at), "c");
    body["metadata"]["annotations"] = json!({ "round": round });
    body["spec"]["volumeName"] = json!(format!("pvc-{at}"));
    body["status"] = json!({ "phase": "Bound", "capacity": { "storage": "5Gi" } });
    (key("persistentvolumeclaims", &body), body)
}

fn snapshot(at: usize) -> (String, Value) {
    let name = format!("volsync-{}-src", objects::app(at));
    let body = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": metadata(at, &name, "5"),
        "spec": {
            "volumeSnapshotClassName": "csi-ceph-block",
            "source": { "persistentVolumeClaimName": objects::app(at) },
        },
        "status": {
            "readyToUse": true, "restoreSize": "5Gi",
            "boundVolumeSnapshotContentName": format!("snapcontent-{at}"),
        },
    });
    (key("snapshot.storage.k8s.io/volumesnapshots", &body), body)
}

fn source(at: usize) -> (String, Value) {
    let body = json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
        "metadata": metadata(at, &objects::app(at), "b"),
        "spec": {
            "sourcePVC": objects::app(at), "trigger": { "schedule": "0 * * * *" },
            "restic": { "copyMethod": "Snapshot", "volumeSnapshotClassName": "csi-ceph-block" },
        },
        "status": { "lastSyncTime": "2026-01-01T00:00:00Z" },
    });
    (key("volsync.backube/replicationsources", &body), body)
}

fn key(resource: &str, object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    format!("/registry/{resource}/{namespace}/{name}")
}
