//! Waits for a condition on all objects of a kind.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::Error;

/// Each stage takes seconds with fast timings; this is the limit on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Watches `api` until `holds` accepts its objects; after `limit`, returns an error that names `what`.
pub async fn until<K>(
    api: Api<K>,
    what: &str,
    limit: Duration,
    mut holds: impl FnMut(&[Arc<K>]) -> bool,
) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource<DynamicType: Debug + Default + Eq + Hash + Clone>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let events = reflector::reflector(writer, watcher::watcher(api, watcher::Config::default()));
    let mut events = events.default_backoff().boxed();
    let reached = async {
        let mut complete = false;
        while let Some(event) = events.next().await {
            complete |= matches!(event, Ok(Event::InitDone));
            let objects = reader.state();
            if complete && holds(&objects) {
                return Some(objects);
            }
        }
        None
    };
    let reached = tokio::time::timeout(limit, reached).await.ok().flatten();
    reached.ok_or_else(|| Error::Timeout(limit.as_secs(), what.to_owned()))
}
