//! A flood of Events.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ObjectMeta;
use kube::{Api, CustomResourceExt, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::Remediation;
use locksmith::demo::scenario::App;
use locksmith::demo::world::IMMEDIATE_CLASS;
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::stage::{DRIVER, Settings, named};
use crate::testbed::{Options, Testbed};

const CLAIMS: usize = 100;
/// Events about each claim, and as many again about a claim that does not exist.
const EVENTS: usize = 25;
/// Number of concurrent requests.
const CONCURRENCY: usize = 16;
/// Maximum growth of the resident memory, in KiB.
const GROWTH: u64 = 32 * 1024;

/// One of many Events in which a provisioner reports that the driver refuses a claim.
fn refusal(number: usize, claim: &str, uid: &str) -> Event {
    let now = jiff::Timestamp::now();
    named(
        json!({"generateName": "flood-", "namespace": "media"}),
        json!({
            "involvedObject": {"kind": "PersistentVolumeClaim", "namespace": "media", "name": claim, "uid": uid},
            "reason": "ProvisioningFailed",
            "type": "Warning",
            "message": format!("rpc error: code = Aborted desc = an operation with the given Volume ID pvc-{uid} already exists"),
            "source": {"component": format!("{DRIVER}_csi-rbdplugin-provisioner-{number}_0b0b")},
            "firstTimestamp": now - jiff::SignedDuration::from_secs(300),
            "lastTimestamp": now,
            "count": number + 1,
        }),
    )
}

fn sum(samples: &BTreeMap<String, f64>, prefix: &str) -> f64 {
    let of_it = samples.iter().filter(|(name, _)| name.starts_with(prefix));
    of_it.map(|(_, value)| value).sum()
}

/// Five thousand Events about a hundred claims of this cluster, and as many about another cluster's: exactly the hundred
/// are found, with the right reason, and memory and metrics stay small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn event_flood_is_handled_in_bounded_memory() {
    let testbed = Testbed::start(Options {
        controllers: false,
        crds: vec![Remediation::crd(), SnapshotHold::crd()],
        ..Options::default()
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(testbed.client());
    let media = named(json!({"name": "media"}), json!({}));
    namespaces
        .create(&Default::default(), &media)
        .await
        .unwrap();
    let class = StorageClass {
        metadata: ObjectMeta {
            name: Some(IMMEDIATE_CLASS.to_owned()),
            ..ObjectMeta::default()
        },
        provisioner: DRIVER.to_owned(),
        ..StorageClass::default()
    };
    let classes: Api<StorageClass> = Api::all(testbed.client());
    classes.create(&Default::default(), &class).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(testbed.client(), "media");
    let mut ours = Vec::new();
    for number in 0..CLAIMS {
        let claim = App::new("media", &format!("app-{number}")).claim();
        let made = claims.create(&Default::default(), &claim).await.unwrap();
        ours.push((made.name_any(), made.uid().unwrap()));
    }
    let settings = Settings {
        mode: "observe",
        ..Settings::default()
    };
    let daemon = Daemon::start(testbed.kubeconfig(), &settings.yaml()).await;
    let found = "locksmith_stuck_operations{finding=\"pending_claim\"";
    let all = |count: f64| format!("{count}") == CLAIMS.to_string();
    daemon
        .until("the claims to be found", |samples| all(sum(samples, found)))
        .await;
    let before = daemon.resident("VmRSS");

    let events: Api<Event> = Api::namespaced(testbed.client(), "media");
    let theirs = (0..CLAIMS).map(|number| {
        let uid = format!("00000000-0000-4000-8000-{number:012}");
        (format!("theirs-{number}"), uid)
    });
    let claims: Vec<_> = ours.iter().cloned().chain(theirs).collect();
    let floods = (0..EVENTS).flat_map(|number| {
        let of_each = claims
            .iter()
            .map(move |(name, uid)| refusal(number, name, uid));
        of_each.collect::<Vec<_>>()
    });
    let writes = floods.map(|event| {
        let events = events.clone();
        async move { events.create(&Default::default(), &event).await.map(drop) }
    });
    let written: Vec<_> = futures::stream::iter(writes)
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    assert_eq!(written.len(), 2 * CLAIMS * EVENTS);
    assert!(written.iter().all(Result::is_ok));

    let locked = "locksmith_stuck_operations{finding=\"pending_claim\",reason=\"operation_lock\"";
    daemon
        .until("each claim to be found locked", |samples| {
            all(sum(samples, locked)) && all(sum(samples, found))
        })
        .await;
    let samples = daemon.metrics().await;
    let locks = sum(
        &samples,
        "locksmith_stuck_operations{finding=\"operation_lock\"",
    );
    assert!(all(locks), "{locks} locks");
    // One series per stuck object, as documented, and none for another cluster's.
    assert!(samples.len() < 20 * CLAIMS, "{} series", samples.len());
    assert!(!samples.keys().any(|name| name.contains("theirs-")));
    let grown = daemon.resident("VmHWM").saturating_sub(before);
    println!(
        "{} series, {before} KiB and at most {grown} more",
        samples.len()
    );
    assert!(grown < GROWTH, "{grown} KiB");
}
