//! Asks the API server itself for claims that sources name and no watch shows: 404 is the only proof.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use super::{Changes, Store};
use crate::config::Config;
use crate::model::{Change, Kind, Model, Reading, Sym};

/// Shortest pause between two rounds.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long one look-up may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pause between two rounds: short enough for several in the time after which a source is orphaned.
pub fn pause(config: &Config) -> Duration {
    (config.detect.orphaned_after.0 / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Looks up suspects until the model's task ends.
pub async fn claims(client: Client, pause: Duration, store: Store, changes: Changes) {
    loop {
        tokio::time::sleep(pause).await;
        for (namespace, name) in store.read(suspects) {
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

/// Claims of which it is not known yet whether they are missing.
pub fn open(model: &Model) -> Vec<(Sym, Sym)> {
    let mut open = suspects(model);
    open.retain(|(namespace, name)| {
        let absence = model.absences.of(namespace, name);
        absence.is_none_or(|absence| !absence.counts())
    });
    open
}

/// Claims that sources name and the watch does not show.
fn suspects(model: &Model) -> Vec<(Sym, Sym)> {
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
}
