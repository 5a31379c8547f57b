//! Asks the API server itself for claims that sources name and no watch shows: 404 is the only proof.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use super::{Changes, Store};
use crate::config::Config;
use crate::model::{Change, Kind, Reading, Sym};

/// Longest and shortest pause between two rounds.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How long one look-up may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks up suspects until the model's task ends.
pub async fn claims(client: Client, config: Arc<Config>, store: Store, changes: Changes) {
    let (shortest, longest) = PAUSE;
    let pause = (config.detect.orphaned_after.0 / 4).clamp(shortest, longest);
    loop {
        tokio::time::sleep(pause).await;
        for (namespace, name) in suspects(&store) {
            let api: Api<PartialObjectMeta<PersistentVolumeClaim>> =
                Api::namespaced(client.clone(), &namespace);
            // Anything but an answer of 404 says nothing, and ends the row.
            let missing = match tokio::time::timeout(TIMEOUT, api.get_opt(&name)).await {
                Ok(Ok(found)) => found.is_none(),
                Ok(Err(_)) | Err(_) => false,
            };
            let change = Change::ClaimLookedUp {
                namespace,
                name,
                missing,
                at: Timestamp::now(),
            };
            if changes.send(change).await.is_err() {
                return;
            }
        }
        if changes.is_closed() {
            return;
        }
    }
}

/// Claims that sources name and the watch does not show.
fn suspects(store: &Store) -> Vec<(Sym, Sym)> {
    store.read(|model| {
        if *model.freshness.of(Kind::PersistentVolumeClaims) != Reading::Live {
            return Vec::new();
        }
        let named = model.sources.iter().filter_map(|source| {
            let claim = source.claim.as_ref()?;
            let unseen = model.claims.get(&source.meta.namespace, claim).is_none();
            unseen.then(|| (source.meta.namespace.clone(), claim.clone()))
        });
        let mut suspects: Vec<_> = named.collect();
        suspects.sort();
        suspects.dedup();
        suspects
    })
}
