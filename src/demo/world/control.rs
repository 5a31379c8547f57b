//! Watches a kind, and calls a function for each object that may need an action.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::ready;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::timings::Retry;

/// Configuration of every watch of the world.
pub(super) fn watching() -> watcher::Config {
    watcher::Config::default()
}

/// Calls `reconcile` for each triggered object of `controller`, until dropped. A failure is retried after `retry`,
/// separately for each object.
pub(super) async fn control<K, Ctx, Fut, Failure>(
    controller: Controller<K>,
    context: Ctx,
    retry: Retry,
    reconcile: fn(Arc<K>, Arc<Ctx>) -> Fut,
) where
    K: Resource<DynamicType: Debug + Default + Eq + Hash + Clone + Unpin>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    Ctx: Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Failure>> + Send + 'static,
    Failure: std::error::Error + Send + 'static,
{
    let failures = Arc::new(Failures::default());
    let counted = Arc::clone(&failures);
    controller
        .run(
            move |object, context| {
                let (uid, failures) = (object.uid(), Arc::clone(&counted));
                let done = reconcile(object, context);
                async move {
                    let outcome = done.await;
                    if outcome.is_ok() {
                        failures.forget(uid.as_deref());
                    }
                    outcome
                }
            },
            move |object, error, _| {
                let wait = retry.after(failures.count(object.uid()));
                tracing::debug!(kind = std::any::type_name::<K>(), name = object.name_any(), %error, ?wait, "to be retried");
                Action::requeue(wait)
            },
            Arc::new(context),
        )
        .for_each(|_| ready(()))
        .await;
}

/// Consecutive failures by uid.
#[derive(Debug, Default)]
struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    fn count(&self, uid: Option<String>) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid.unwrap_or_default()).or_default();
        *count += 1;
        *count
    }

    fn forget(&self, uid: Option<&str>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid.unwrap_or_default());
    }
}

/// Whether the requested object does not exist.
pub(super) fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_per_object_until_success() {
        let failures = Failures::default();
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        assert_eq!(failures.count(a.clone()), 1);
        assert_eq!(failures.count(a.clone()), 2);
        assert_eq!(failures.count(b), 1);
        failures.forget(Some("a"));
        assert_eq!(failures.count(a), 1);
    }
}
