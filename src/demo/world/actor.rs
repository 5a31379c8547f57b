//! An actor's access to the API, under its own field manager.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A client that writes under one field manager.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    manager: &'static str,
}

impl Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor")
            .field("manager", &self.manager)
            .finish_non_exhaustive()
    }
}

/// Common requirements of all kinds.
pub trait Kind: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize {}
impl<K> Kind for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{}

impl Actor {
    /// Writes through `client` as `manager`.
    pub fn new(client: Client, manager: &'static str) -> Self {
        Self { client, manager }
    }

    /// The objects of `K` in all namespaces, or of a cluster-scoped `K`.
    pub fn all<K: Kind>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// The objects of a namespaced kind in `namespace`.
    pub fn within<K: Kind + Resource<Scope = NamespaceResourceScope>>(
        &self,
        namespace: &str,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates `object`; `None` if one with that name exists already.
    pub async fn create<K: Kind>(
        &self,
        api: &Api<K>,
        object: &K,
    ) -> Result<Option<K>, kube::Error> {
        match api.create(&self.post(), object).await {
            Ok(created) => Ok(Some(created)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the object by `object`, with its resourceVersion as precondition.
    pub async fn replace<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        object: &K,
    ) -> Result<K, kube::Error> {
        api.replace(name, &self.post(), object).await
    }

    /// Merge patch of everything except the status.
    pub async fn merge<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        patch: &Value,
    ) -> Result<K, kube::Error> {
        api.patch(name, &self.params(), &Patch::Merge(patch)).await
    }

    /// Merge patch of the status.
    pub async fn merge_status<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        patch: &Value,
    ) -> Result<K, kube::Error> {
        api.patch_status(name, &self.params(), &Patch::Merge(patch))
            .await
    }

    /// Deletes the object `name` if it still has this `uid`; a missing one is no error.
    pub async fn delete<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), kube::Error> {
        self.delete_with(api, name, uid, DeleteParams::background())
            .await
    }

    /// As [`Actor::delete`], without grace period, as a kubelet does once the containers have terminated.
    pub async fn delete_now<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<String>,
    ) -> Result<(), kube::Error> {
        self.delete_with(api, name, uid, DeleteParams::default().grace_period(0))
            .await
    }

    async fn delete_with<K: Kind>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<String>,
        params: DeleteParams,
    ) -> Result<(), kube::Error> {
        let params = params.preconditions(Preconditions {
            uid,
            resource_version: None,
        });
        match api.delete(name, &params).await {
            // A conflict means another object with the same name: ours is gone.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Parameters of a POST or PUT.
    pub fn post(&self) -> PostParams {
        PostParams {
            field_manager: Some(self.manager.to_owned()),
            ..PostParams::default()
        }
    }

    fn params(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.manager.to_owned()),
            ..PatchParams::default()
        }
    }
}
