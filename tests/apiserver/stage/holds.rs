//! What is held, as the cluster shows it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::scenario;
use locksmith::holds::{HOLD_ANNOTATION, Hold, RunRef, Switch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{NAMESPACE, PATIENCE, Stage};
use crate::testbed::Event;

impl Stage {
    /// Waits until the program has held a ReplicationSource.
    pub async fn first_hold(&self) {
        let hold = |event: &Event| {
            event.user == self.user
                && event.verb == "patch"
                && event.resource == "replicationsources"
        };
        self.testbed.audit().expect("a hold", hold).await;
    }

    /// Names of the sources that carry a hold, in order.
    pub async fn held(&self) -> Vec<String> {
        let mut names: Vec<_> = self.list::<ReplicationSource>().await;
        names.retain(is_held);
        let mut names: Vec<_> = names.iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    }

    /// Holds an object as a run did that is gone, and whose deadline passed yesterday.
    pub async fn left_behind<K>(&self, namespace: &str, name: &str, switch: Switch)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let run = RunRef {
            namespace: NAMESPACE.into(),
            name: "gone".into(),
            uid: "gone".into(),
        };
        let hold = Hold {
            switch,
            was: Value::Null,
            run,
            since: Timestamp::now() - SignedDuration::from_hours(26),
            until: Timestamp::now() - SignedDuration::from_hours(24),
        };
        let object = self.api::<K>(namespace).get(name).await.unwrap();
        let mut patch = hold.take(&json!(object)).unwrap();
        // Whoever else writes the object meanwhile is in nobody's way.
        patch["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        self.patch::<K>(namespace, name, &patch).await;
    }

    /// Waits until nothing is held, and nothing shows that it ever was.
    pub async fn released(&self) {
        self.released_within(PATIENCE).await;
    }

    /// The same, where whoever releases is kept from its work.
    pub async fn released_within(&self, limit: Duration) {
        self.free::<ReplicationSource>("every source to be released", limit)
            .await;
        self.free::<PersistentVolumeClaim>("every claim to be released", limit)
            .await;
        self.nothing_is_held().await;
    }

    async fn free<K>(&self, what: &str, limit: Duration)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
        K: Send + Sync + 'static,
    {
        let all: Api<K> = Api::all(self.testbed.client());
        let free = |all: &[Arc<K>]| !all.iter().any(|one| is_held(&**one));
        scenario::until(all, what, limit, free).await.unwrap();
    }

    /// Asserts that no source and no claim shows that it ever was held.
    pub async fn nothing_is_held(&self) {
        for source in self.list::<ReplicationSource>().await {
            assert!(!is_held(&source), "{}", source.name_any());
            assert_eq!(source.spec.paused, None, "{}", source.name_any());
            assert_eq!(source.spec.suspend, None, "{}", source.name_any());
        }
        for claim in self.list::<PersistentVolumeClaim>().await {
            assert!(!is_held(&claim), "{}", claim.name_any());
            let triggers = locksmith::api::volsync::USE_COPY_TRIGGER;
            assert!(
                !claim.annotations().contains_key(triggers),
                "{}",
                claim.name_any()
            );
        }
    }

    /// Moves the deadline of every hold to `until`, on the objects of those names.
    pub async fn hasten(&self, until: Timestamp, of: impl Fn(&str) -> bool) {
        for source in self.list::<ReplicationSource>().await {
            if of(&source.name_any()) {
                self.hasten_one(source, until).await;
            }
        }
        for claim in self.list::<PersistentVolumeClaim>().await {
            if of(&claim.name_any()) {
                self.hasten_one(claim, until).await;
            }
        }
    }

    /// Of one object, as it is: where somebody wrote it meanwhile it is read again, so that no mark comes back.
    async fn hasten_one<K>(&self, mut object: K, until: Timestamp)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = self.api::<K>(&object.namespace().unwrap());
        while let Some(mark) = object.annotations().get(HOLD_ANNOTATION) {
            let mut mark: Value = serde_json::from_str(mark).unwrap();
            mark["until"] = json!(until);
            let patch = json!({"metadata": {
                "resourceVersion": object.resource_version(),
                "annotations": {HOLD_ANNOTATION: mark.to_string()},
            }});
            let (name, patch) = (object.name_any(), Patch::Merge(patch));
            match api.patch(&name, &PatchParams::default(), &patch).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    object = api.get(&name).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Whether it carries the program's mark.
pub fn is_held<K: Resource>(object: &K) -> bool {
    object.annotations().contains_key(HOLD_ANNOTATION)
}
