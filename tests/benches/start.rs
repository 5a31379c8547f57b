//! Start with very many objects on a real API server: time until ready, peak memory, and idle load afterwards.

use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::figures::{Row, cpu, duration, memory, short, size};
use crate::server::objects::Object;
use crate::server::{Ground, objects};

const OBJECTS: usize = 100_000;
/// Time limit of creating the objects, however many there are then.
const CREATION: Duration = Duration::from_secs(180);
/// Number of objects created between two checks of the time.
const BATCH: usize = 2_000;
const IDLE: Duration = Duration::from_secs(30);
/// Interval of checking readiness.
const POLL: Duration = Duration::from_millis(20);

pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    let (client, begun) = (ground.client(), Instant::now());
    let (wanted, mut made) = (size(OBJECTS), 0);
    while made < wanted && begun.elapsed() < CREATION {
        let end = wanted.min(made + BATCH);
        objects::create(&client, (made..end).map(volume).collect()).await;
        made = end;
    }
    println!(
        "{made} PersistentVolumes, created in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let user = ground.service_account("locksmith-daemon").await;
    let begun = Instant::now();
    let daemon = Daemon::start(user.kubeconfig(), "mode: observe\n").await;
    while daemon.get("/readyz").await.0 != 200 {
        tokio::time::sleep(POLL).await;
    }
    let ready = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (most, monotonic) = (memory(daemon.pid(), "VmHWM"), memory(daemon.pid(), "VmRSS"));
    let (before, idle_for) = (cpu(daemon.pid()), duration(IDLE));
    tokio::time::sleep(idle_for).await;
    let idle = (cpu(daemon.pid()) - before) / idle_for.as_secs_f64() * 100.0;
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_locksmith")).unwrap();
    let size = binary.len() as f64 / 1024.0 / 1024.0;
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    println!(
        "ready after {} s; resident {:.1} MiB, at most {:.1} MiB; idle {idle:.2}% of a core; binary {size:.1} MiB",
        short(ready),
        mib(monotonic),
        mib(most)
    );
    vec![
        Row::new(
            &format!("start to ready, {made} objects on the API server"),
            format!("{} s", short(ready)),
            "",
            "",
        ),
        Row::new(
            "peak memory during the initial list",
            format!("{:.1} MiB", mib(most)),
            &format!("steady: {:.1} MiB", mib(monotonic)),
            &format!("{:.2}", most / monotonic),
        ),
        Row::new(
            "binary with the demo; CPU when idle",
            format!("{size:.1} MiB; {idle:.2}% of a core"),
            "",
            "",
        ),
    ]
}

/// One object, of the watched kind that takes a single request to create.
fn volume(at: usize) -> Object {
    let name = format!("pvc-{at:08x}-4b0c-4d5e-9f6a-7f1e8a2b3c4d");
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": crate::server::DRIVER } },
        "spec": {
            "capacity": { "storage": "5Gi" }, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "ceph-block",
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": objects::namespace(at), "name": objects::app(at), "uid": name,
            },
            "csi": {
                "driver": crate::server::DRIVER, "fsType": "ext4",
                "volumeHandle": format!("0001-0009-rook-ceph-0000000000000002-{name}"),
                "volumeAttributes": { "clusterID": "rook-ceph", "pool": "replicapool", "imageFeatures": "layering" },
            },
        },
    });
    Object::new("/api/v1/persistentvolumes", body)
}
