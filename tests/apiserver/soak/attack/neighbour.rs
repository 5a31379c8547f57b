//! An ordinary tenant of another namespace, whose objects become stuck every few seconds: measures how soon each is in the
//! metrics.

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

/// Pause between two objects.
const PAUSE: Duration = Duration::from_secs(2);
/// Time after which an object counts as not found.
const NEVER: Duration = Duration::from_secs(60);

/// The kinds of stuck object, in turn.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A claim restored from a missing snapshot.
    Claim,
    /// A snapshot of a missing claim, which the snapshot controller refuses.
    Snapshot,
    /// A source of a missing claim.
    Source,
}

impl Kind {
    /// Configured time until it is a finding. A claim is missing after two look-ups with `orphanedAfter` between them; each
    /// claim is looked up every quarter of that.
    fn threshold(self) -> Duration {
        match self {
            Self::Claim | Self::Snapshot => Duration::from_secs(1),
            Self::Source => Duration::from_secs(10 + 5),
        }
    }
}

/// An object that became stuck.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    pub kind: Kind,
    /// Time at which it was due.
    pub due: Instant,
    /// Time at which it was in the metrics, or was given up.
    pub found: Instant,
}

/// Creates objects until `ends`.
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
