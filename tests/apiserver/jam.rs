//! The playbook's jam, seen, exported and healed by the daemon on a real control plane.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, Client, ResourceExt};
use locksmith::api::remediation::{Phase, Remediation, RemediationStatus, StepPhase};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::scenario::{Jam, Outage, playbook_jam};
use locksmith::demo::world::{Timings, World, WorldConfig};

use crate::daemon::Daemon;
use crate::testbed::{Options, Testbed};

/// A whole run takes some 15 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

const DRIVER: &str = "rook-ceph.rbd.csi.ceph.com";

/// The configuration of these tests: the same order of events, in seconds instead of minutes.
pub fn config(mode: &str) -> String {
    format!(
        "
mode: {mode}
remediation: {{namespace: locksmith}}
detect: {{pendingAfter: 1s, failedAfter: 1s, orphanedAfter: 1s, lockedAfter: 1s}}
steps:
  suspendSources: {{settle: 500ms, quietPeriod: 2s, deadline: 10m}}
  resumeSources: {{batch: 20, every: 1s}}
gates: {{cooldown: 1m, minimumAge: 1s, progressWithin: 1s}}
"
    )
}

pub struct Stage {
    pub testbed: Testbed,
    pub world: World,
    pub jam: Jam,
}

pub async fn jammed() -> Stage {
    let options = Options {
        crds: vec![<Remediation as kube::CustomResourceExt>::crd()],
        ..Options::default()
    };
    let testbed = Testbed::start(options).await;
    let world = World::start(testbed.client(), WorldConfig::new(Timings::fast()))
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(testbed.client());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("locksmith".to_owned());
    namespaces
        .create(&Default::default(), &namespace)
        .await
        .unwrap();
    let jam = playbook_jam(&world, Outage::Over).await.unwrap();
    Stage {
        testbed,
        world,
        jam,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn one_alert_heals_the_playbooks_jam() {
    let Stage {
        testbed,
        world: _world,
        jam,
    } = jammed().await;
    let client = testbed.client();
    let daemon = Daemon::start(testbed.kubeconfig(), &config("act")).await;

    // Seen: every part of the jam, each with its reason.
    let count = |finding: &str, reason: &str| {
        format!("locksmith_stuck_operations{{finding=\"{finding}\",reason=\"{reason}\"")
    };
    let wanted = [
        (count("orphaned_source", "claim_missing"), 2.0),
        (count("orphaned_source", "claim_terminating"), 1.0),
        (count("failed_snapshot", "operation_lock"), 5.0),
        (count("pending_claim", "operation_lock"), 4.0),
    ];
    until(&daemon, |samples| {
        wanted.iter().all(|(prefix, expected)| {
            let sum: f64 = samples
                .iter()
                .filter(|(name, _)| name.starts_with(prefix.as_str()))
                .map(|(_, v)| v)
                .sum();
            (sum - expected).abs() < f64::EPSILON
        })
    })
    .await;

    // Healed.
    let (code, answer) = daemon
        .fire("LocksmithOperationLocked", &[("driver", DRIVER)])
        .await;
    assert_eq!(code, 202, "{answer}");
    let status = finished(&client).await;
    assert_eq!(
        status.phase,
        Phase::Succeeded,
        "{}\n{status:#?}",
        daemon.log_text()
    );
    let steps: Vec<_> = status
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.phase))
        .collect();
    let all = [
        "suspendSources",
        "deleteFailedSnapshots",
        "restartProvisioner",
        "verifyProvisioning",
        "resumeSources",
    ];
    assert_eq!(steps, all.map(|step| (step, StepPhase::Succeeded)));
    assert!(
        status.verdict.iter().all(|check| check.passed),
        "{:#?}",
        status.verdict
    );
    assert_eq!(status.evidence.len(), 5);
    for pending in &jam.pending {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(client.clone(), &pending.claim.namespace);
        let claim = claims.get(&pending.claim.name).await.unwrap();
        assert_eq!(claim.uid().as_deref(), Some(&*pending.claim.uid));
        assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
    }
    let stuck: BTreeSet<_> = jam
        .stuck_snapshots
        .iter()
        .map(|snapshot| snapshot.uid.clone())
        .collect();
    let snapshots: Api<VolumeSnapshot> = Api::all(client.clone());
    for snapshot in snapshots.list(&Default::default()).await.unwrap() {
        assert!(
            !stuck.contains(&snapshot.uid().unwrap()),
            "{}",
            snapshot.name_any()
        );
    }

    // Those of apps that do not run stay held, and are listed with their deadline.
    let held = held(&client).await;
    let mut expected: Vec<_> = jam
        .orphaned
        .iter()
        .map(|source| source.name.clone())
        .collect();
    expected.extend(
        jam.stopped
            .iter()
            .flat_map(|app| app.sources.iter().cloned()),
    );
    expected.sort();
    assert_eq!(held, expected);
    assert_eq!(status.held as usize, held.len());
    assert!(
        status
            .holds
            .iter()
            .all(|hold| hold.until > hold_start(&status))
    );
}

fn hold_start(status: &RemediationStatus) -> jiff::Timestamp {
    status.started_at.unwrap()
}

/// Names of the sources that carry a hold.
pub async fn held(client: &Client) -> Vec<String> {
    let sources: Api<ReplicationSource> = Api::all(client.clone());
    let all = sources.list(&Default::default()).await.unwrap();
    let held = all
        .iter()
        .filter(|source| source.annotations().contains_key("locksmith.dev/hold"));
    let mut names: Vec<_> = held.map(ResourceExt::name_any).collect();
    names.sort();
    names
}

/// The status of the only Remediation, once it is over.
pub async fn finished(client: &Client) -> RemediationStatus {
    let runs: Api<Remediation> = Api::namespaced(client.clone(), "locksmith");
    let over = |runs: &[std::sync::Arc<Remediation>]| {
        runs.iter().any(|run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.finished())
        })
    };
    let runs = locksmith::demo::scenario::until(runs, "a run to be over", PATIENCE, over)
        .await
        .unwrap();
    runs[0].status.clone().unwrap()
}

/// Waits until the daemon's metrics are as wanted; it takes a view a second at least.
async fn until(daemon: &Daemon, wanted: impl Fn(&std::collections::BTreeMap<String, f64>) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let samples = daemon.metrics().await;
        if wanted(&samples) {
            return;
        }
        let stuck: Vec<_> = samples
            .iter()
            .filter(|(name, _)| name.starts_with("locksmith_stuck_operations{"))
            .collect();
        assert!(
            tokio::time::Instant::now() < deadline,
            "{stuck:#?}\n{}",
            daemon.log_text()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
