//! Carries out one intent: reads the object again, compares, and writes with preconditions.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, WriteError, bounded};
use crate::api::hold::NUDGE_ANNOTATION;
use crate::api::remediation::Remediation;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use crate::api::volsync::ReplicationSource;
use crate::api::{OPT_OUT_LABEL, RESTART_ANNOTATION, TOUCHED_ANNOTATION, is_object_name};
use crate::api::{ObjectKey, ObjectKind, SharedStr};
use crate::cluster::leader::{Leadership, Term};
use crate::config::Config;
use crate::holds;
use crate::model::Model;
use crate::plan::{snapshot_skip_reason, source_skip_reason};
use crate::state::Store;
use crate::steps::Intent;
use crate::watch::{Patterns, snapshot_record, source_record};

/// Annotation that `kubectl rollout restart` sets, too, for people who look for it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Result of an intent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tried {
    /// The API server accepted the write. The model shows its effect.
    Written,
    /// The object was skipped, as it has changed since the decision.
    Skipped(String),
}

/// Writes to one cluster.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    store: Store,
    patterns: Arc<Patterns>,
    config: Arc<Config>,
    leadership: Leadership,
}

impl Writer {
    /// A writer by `client`, which must not repeat requests: see [`super::writing`].
    pub fn new(
        client: Client,
        store: Store,
        patterns: Arc<Patterns>,
        config: Arc<Config>,
        leadership: Leadership,
    ) -> Self {
        Self {
            client,
            store,
            patterns,
            config,
            leadership,
        }
    }

    /// Whether this replica leads by its own clock: sufficient to decide, but not to write.
    pub fn leads(&self) -> bool {
        self.leadership.term().is_some()
    }

    /// The current term, confirmed by the API server. Must precede each write: a process that was frozen between decision
    /// and write learns that its term is over.
    pub async fn confirm(&self) -> Result<Term, WriteError> {
        self.leadership.confirm().await
    }

    /// The client of its writes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Carries out one intent.
    pub async fn perform(&self, intent: &Intent) -> Result<Tried, WriteError> {
        let may = async || self.confirm().await.map(drop);
        match intent {
            Intent::CreateHold { hold, run, spec } => {
                may().await?;
                let object = holds::object(hold, run, (**spec).clone());
                super::hold::create_for_run(&self.client, &object).await
            }
            Intent::PatchHold { hold, change } => {
                super::hold::patch(&self.client, hold, change, may).await
            }
            Intent::DeleteHold(hold) => super::hold::delete(&self.client, hold, may).await,
            Intent::Delete(object) if object.kind == ObjectKind::ReplicationSource => {
                self.delete_source(object).await
            }
            Intent::Delete(object) => self.delete_snapshot(object).await,
            Intent::Rollout { object, token } => self.rollout(object, token).await,
            Intent::Replace(object) => self.delete_pod(object).await,
            Intent::Touch { object, token } => self.touch(object, token).await,
            Intent::HandOver {
                object,
                holder,
                renewed,
            } => self.hand_over(object, holder, *renewed).await,
        }
    }

    /// Makes VolSync retry a released source at once, which any change of its metadata does.
    pub async fn nudge(&self, object: &ObjectKey) -> Result<Tried, WriteError> {
        let api: Api<ReplicationSource> = Api::namespaced(self.client.clone(), &object.namespace);
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        let patch = json!({ "metadata": {
            "resourceVersion": live.metadata.resource_version,
            "annotations": { NUDGE_ANNOTATION: Timestamp::now().to_string() },
        } });
        self.patch(&api, "nudge", object, &patch).await
    }

    async fn delete_snapshot(&self, object: &ObjectKey) -> Result<Tried, WriteError> {
        let api: Api<VolumeSnapshot> = Api::namespaced(self.client.clone(), &object.namespace);
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        let Some(record) = snapshot_record(&live, &self.patterns) else {
            return Ok(Tried::Skipped("cannot be parsed".to_owned()));
        };
        let scope = self.config.steps.delete_failed_snapshots.scope;
        let reason = |model: &Model| snapshot_skip_reason(model, &record, scope);
        if let Some(reason) = self.store.read(reason) {
            return Ok(Tried::Skipped(reason.message().to_owned()));
        }
        self.delete(&api, object, &live.metadata).await
    }

    /// Deletes a source if its claim, read again, is missing or being deleted.
    async fn delete_source(&self, object: &ObjectKey) -> Result<Tried, WriteError> {
        let api: Api<ReplicationSource> = Api::namespaced(self.client.clone(), &object.namespace);
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        let Some(record) = source_record(&live) else {
            return Ok(Tried::Skipped("cannot be parsed".to_owned()));
        };
        let reason = |model: &Model| source_skip_reason(model, &record);
        if let Some(reason) = self.store.read(reason) {
            return Ok(Tried::Skipped(reason.message().to_owned()));
        }
        let Some(claim) = record.claim else {
            return Ok(Tried::Skipped("names no PersistentVolumeClaim".to_owned()));
        };
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &object.namespace);
        let name = || format!("PersistentVolumeClaim {claim}");
        // An invalid name cannot be that of a claim, and could change the path of the request.
        let claim = if is_object_name(&claim) {
            bounded("get", name, claims.get_opt(&claim)).await?
        } else {
            None
        };
        if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()) {
            return Ok(Tried::Skipped(
                "its PersistentVolumeClaim is back".to_owned(),
            ));
        }
        self.delete(&api, object, &live.metadata).await
    }

    /// Deletes a finished Remediation.
    pub async fn remove_run(&self, object: &ObjectKey) -> Result<Tried, WriteError> {
        let api: Api<Remediation> = Api::namespaced(self.client.clone(), &object.namespace);
        match same(&api, object).await? {
            Ok(live) => self.delete(&api, object, &live.metadata).await,
            Err(left) => Ok(left),
        }
    }

    async fn delete_pod(&self, object: &ObjectKey) -> Result<Tried, WriteError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &object.namespace);
        match same(&api, object).await? {
            Ok(live) if live.metadata.deletion_timestamp.is_some() => {
                Ok(Tried::Skipped("is being deleted".to_owned()))
            }
            Ok(live) => self.delete(&api, object, &live.metadata).await,
            Err(left) => Ok(left),
        }
    }

    async fn rollout(&self, object: &ObjectKey, token: &str) -> Result<Tried, WriteError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &object.namespace);
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        let template = live
            .spec
            .as_ref()
            .and_then(|spec| spec.template.metadata.as_ref());
        let annotations = template.and_then(|template| template.annotations.as_ref());
        if annotations
            .and_then(|all| all.get(RESTART_ANNOTATION))
            .is_some_and(|known| known == token)
        {
            return Ok(Tried::Skipped(
                "was already restarted by this attempt".to_owned(),
            ));
        }
        let patch = json!({
            "metadata": { "resourceVersion": live.metadata.resource_version },
            "spec": { "template": { "metadata": { "annotations": {
                RESTART_ANNOTATION: token,
                RESTARTED_AT: Timestamp::now().to_string(),
            } } } }
        });
        self.patch(&api, "restart", object, &patch).await
    }

    /// Annotates a content that is still being deleted.
    async fn touch(&self, object: &ObjectKey, token: &str) -> Result<Tried, WriteError> {
        let api: Api<VolumeSnapshotContent> = Api::all(self.client.clone());
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        if live.metadata.deletion_timestamp.is_none() {
            return Ok(Tried::Skipped("is not being deleted".to_owned()));
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": live.metadata.resource_version,
                "annotations": { TOUCHED_ANNOTATION: token },
            }
        });
        self.patch(&api, "touch", object, &patch).await
    }

    /// Clears the holder of a Lease, as client-go does on release: any candidate may take it at once.
    async fn hand_over(
        &self,
        object: &ObjectKey,
        holder: &SharedStr,
        renewed: Option<Timestamp>,
    ) -> Result<Tried, WriteError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &object.namespace);
        let live = match same(&api, object).await? {
            Ok(live) => live,
            Err(left) => return Ok(left),
        };
        let spec = live.spec.unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&**holder) {
            return Ok(Tried::Skipped("its holder has changed".to_owned()));
        }
        if spec.renew_time.map(|time| time.0) != renewed {
            return Ok(Tried::Skipped("was renewed meanwhile".to_owned()));
        }
        let patch = json!({
            "metadata": { "resourceVersion": live.metadata.resource_version },
            "spec": { "holderIdentity": "" },
        });
        self.patch(&api, "hand over", object, &patch).await
    }

    async fn patch<K>(
        &self,
        api: &Api<K>,
        verb: &'static str,
        object: &ObjectKey,
        patch: &Value,
    ) -> Result<Tried, WriteError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        self.confirm().await?;
        merge(api, verb, object, patch).await
    }

    async fn delete<K>(
        &self,
        api: &Api<K>,
        object: &ObjectKey,
        read: &ObjectMeta,
    ) -> Result<Tried, WriteError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: read.uid.clone(),
                resource_version: read.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        self.confirm().await?;
        bounded(
            "delete",
            || object.to_string(),
            api.delete(&object.name, &params),
        )
        .await?;
        Ok(Tried::Written)
    }
}

/// The current object, unless it was deleted, replaced or opted out. A hold is released whatever its labels.
pub(super) async fn same<K>(
    api: &Api<K>,
    object: &ObjectKey,
) -> Result<Result<K, Tried>, WriteError>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let live = bounded("get", || object.to_string(), api.get_opt(&object.name)).await?;
    let left = |why: &str| Err(Tried::Skipped(why.to_owned()));
    let is_other = |live: &K| {
        live.meta()
            .uid
            .as_deref()
            .is_none_or(|uid| object.uid != *uid)
    };
    let opted_out = |live: &K| {
        let labels = live.meta().labels.as_ref();
        object.kind != ObjectKind::SnapshotHold
            && labels.is_some_and(|labels| labels.contains_key(OPT_OUT_LABEL))
    };
    Ok(match live {
        None => left("is gone"),
        Some(live) if is_other(&live) => left("was replaced by another object of the same name"),
        Some(live) if opted_out(&live) => left("opted out by label"),
        Some(live) => Ok(live),
    })
}

/// A merge patch with strict validation: an unknown field would otherwise be dropped silently.
pub(super) async fn merge<K>(
    api: &Api<K>,
    verb: &'static str,
    object: &ObjectKey,
    patch: &Value,
) -> Result<Tried, WriteError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    // The watch shows the result.
    let call = api.patch_metadata(&object.name, &params, &patch);
    bounded(verb, || object.to_string(), call).await?;
    Ok(Tried::Written)
}
