//! Somebody in another namespace, to whom something ordinary happens every few seconds: how soon it is in the metrics.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::{Api, Client};
use locksmith::api::snapshot::VolumeSnapshot;
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::world::{IMMEDIATE_CLASS, SNAPSHOT_CLASS};
use serde_json::json;

use super::sampler::Sampler;
use crate::support::daemon::POLL;
use crate::support::stage::named;
use crate::testbed::Testbed;

const NAMESPACE: &str = "neighbour";

/// Between two objects.
const PAUSE: Duration = Duration::from_secs(2);
/// An object that is not found within this never is.
const NEVER: Duration = Duration::from_secs(60);

/// What happens, in turn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A claim is to be restored from a snapshot that does not exist.
    Claim,
    /// A snapshot of a claim that does not exist, which the snapshot controller refuses.
    Snapshot,
    /// A source whose claim does not exist.
    Source,
}

impl Kind {
    /// After how long it is a finding, as configured. A claim is missing after two look-ups with `orphanedAfter` between
    /// them; each has its turn every quarter of that.
    fn threshold(self) -> Duration {
        match self {
            Self::Claim | Self::Snapshot => Duration::from_secs(1),
            Self::Source => Duration::from_secs(10 + 5),
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    pub kind: Kind,
    /// When it was due.
    pub due: Instant,
    /// When it was in the metrics, or given up.
    pub found: Instant,
}

/// Makes objects until `ends`.
pub async fn live(testbed: &Testbed, sampler: &Sampler, ends: Instant) -> Vec<Happened> {
    let namespace: Namespace = named(json!({"name": NAMESPACE}), json!({}));
    let namespaces = Api::all(testbed.client());
    namespaces
        .create(&Default::default(), &namespace)
        .await
        .unwrap();
    let mut all = Vec::new();
    while Instant::now() < ends {
        for kind in [Kind::Claim, Kind::Snapshot, Kind::Source] {
            let name = format!("ordinary-{}", all.len());
            sampler.expect(&name);
            make(testbed.client(), kind, &name).await;
            let due = Instant::now() + kind.threshold();
            let found = loop {
                if let Some(found) = sampler.found(&name) {
                    break found;
                }
                if due.elapsed() > NEVER {
                    break Instant::now();
                }
                tokio::time::sleep(POLL).await;
            };
            all.push(Happened { kind, due, found });
            tokio::time::sleep(PAUSE).await;
        }
    }
    all
}

async fn make(client: Client, kind: Kind, name: &str) {
    let metadata = json!({"name": name});
    let params = Default::default();
    match kind {
        Kind::Claim => {
            let claim: PersistentVolumeClaim = named(
                metadata,
                json!({"spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": IMMEDIATE_CLASS,
                    "resources": {"requests": {"storage": "1Gi"}},
                    "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "none"},
                }}),
            );
            let made = Api::namespaced(client, NAMESPACE)
                .create(&params, &claim)
                .await;
            made.unwrap();
        }
        Kind::Snapshot => {
            let snapshot: VolumeSnapshot = named(
                metadata,
                json!({"spec": {
                    "source": {"persistentVolumeClaimName": "none"}, "volumeSnapshotClassName": SNAPSHOT_CLASS,
                }}),
            );
            let made = Api::namespaced(client, NAMESPACE)
                .create(&params, &snapshot)
                .await;
            made.unwrap();
        }
        Kind::Source => {
            let source: ReplicationSource = named(
                metadata,
                json!({"spec": {"sourcePVC": format!("none-{name}"), "restic": {"copyMethod": "Snapshot"}}}),
            );
            let made = Api::namespaced(client, NAMESPACE)
                .create(&params, &source)
                .await;
            made.unwrap();
        }
    }
}
