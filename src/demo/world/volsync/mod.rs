//! VolSync: takes snapshots of ReplicationSources, restores ReplicationDestinations, and populates claims.
//!
//! The mover is a delay instead of a Job. `spec.paused` only stops the mover: a paused sync in progress still creates its
//! missing snapshot. If the API server refuses it, the condition of the source repeats the message, and VolSync retries
//! with its backoff.

mod copy;
mod destination;
mod machine;
mod populator;
mod schedule;
mod source;

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::Controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

use self::machine::{Machine, State};
use super::actor::{Actor, Kind};
use super::config::WorldConfig;
use super::control::{control, watching};
use super::events::Recorder;
use super::timings::Timings;
use locksmith_api::snapshot::VolumeSnapshot;
use locksmith_api::volsync::{
    CLEANUP_LABEL, CREATED_BY_LABEL, CREATED_BY_VOLSYNC, ReplicationDestination, ReplicationSource,
    USE_COPY_TRIGGER,
};

/// VolSync's manager process.
#[derive(Clone, Debug)]
struct VolSync {
    actor: Actor,
    recorder: Arc<Recorder>,
    timings: Timings,
    /// The Node for the mover's Pods.
    node: String,
}

/// Why a sync cannot continue; the text is the message of the condition.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The claim to back up does not exist.
    #[error("PersistentVolumeClaim \"{0}\" not found")]
    NoSuchClaim(String),
    /// The API server refused a request; the message is unchanged, as in VolSync.
    #[error("{}", in_its_words(.0))]
    Api(#[from] kube::Error),
}

fn in_its_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Progress of a sync.
#[derive(Clone, Debug, PartialEq)]
enum Progress<T> {
    InProgress,
    Completed(T),
}

/// Runs until dropped.
pub(super) async fn run(client: Client, config: WorldConfig) {
    let actor = Actor::new(client, "volsync");
    let volsync = VolSync {
        recorder: Arc::new(Recorder::new(actor.clone(), "volsync-controller")),
        actor,
        node: config.nodes.first().cloned().unwrap_or_default(),
        timings: config.timings,
    };
    tokio::join!(
        sources(volsync.clone()),
        destinations(volsync.clone()),
        populator::run(volsync)
    );
}

async fn sources(volsync: VolSync) {
    let actor = &volsync.actor;
    let sources = Controller::new(actor.all::<ReplicationSource>(), watching());
    let known = sources.store();
    let sources = sources
        .owns(actor.all::<VolumeSnapshot>(), watching())
        .owns(actor.all::<PersistentVolumeClaim>(), watching())
        .watches(
            actor.all::<PersistentVolumeClaim>(),
            watching(),
            move |claim| triggered(&known, &claim),
        );
    let retry = volsync.timings.volsync_retry;
    control(sources, volsync, retry, source::reconcile).await;
}

async fn destinations(volsync: VolSync) {
    let actor = &volsync.actor;
    let destinations = Controller::new(actor.all::<ReplicationDestination>(), watching())
        .owns(actor.all::<VolumeSnapshot>(), watching())
        .owns(actor.all::<PersistentVolumeClaim>(), watching());
    let retry = volsync.timings.volsync_retry;
    control(destinations, volsync, retry, destination::reconcile).await;
}

/// A source claim is watched only while it uses the copy trigger. Otherwise its re-creation, or the removal of the
/// annotation, is noticed with the next requeue.
fn triggered(
    known: &Store<ReplicationSource>,
    claim: &PersistentVolumeClaim,
) -> Vec<ObjectRef<ReplicationSource>> {
    if !claim.annotations().contains_key(USE_COPY_TRIGGER) {
        return Vec::new();
    }
    let (namespace, name) = (claim.namespace(), claim.name_any());
    let backing_up = known.state_filter(|source| {
        source.namespace() == namespace && source.spec.source_pvc.as_deref() == Some(name.as_str())
    });
    backing_up
        .iter()
        .map(|source| ObjectRef::from_obj(&**source))
        .collect()
}

impl VolSync {
    /// Writes `state` to the condition of `object`, unless it is unchanged.
    async fn say<K: Kind + Namespaced>(
        &self,
        object: &K,
        machine: &Machine,
        state: &State,
    ) -> Result<(), kube::Error> {
        match machine.saying(state, Timestamp::now()) {
            Some(status) => self.write_status(object, &status).await,
            None => Ok(()),
        }
    }

    /// Writes the status of `object`, if it is unchanged since it was read.
    async fn write_status<K: Kind + Namespaced>(
        &self,
        object: &K,
        status: &Value,
    ) -> Result<(), kube::Error> {
        let api = self
            .actor
            .within::<K>(&object.namespace().unwrap_or_default());
        let patch =
            json!({"metadata": {"resourceVersion": object.resource_version()}, "status": status});
        match self
            .actor
            .merge_status(&api, &object.name_any(), &patch)
            .await
        {
            // Changed or deleted meanwhile, which triggers it again.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// Namespaced kinds.
trait Namespaced: Resource<Scope = k8s_openapi::NamespaceResourceScope> {}
impl<K: Resource<Scope = k8s_openapi::NamespaceResourceScope>> Namespaced for K {}

/// Metadata of an object created for `owner`; a temporary one is deleted at the end of the sync.
fn metadata<K: Kind>(owner: &K, name: &str, temporary: bool) -> kube::api::ObjectMeta {
    let mut labels = vec![(CREATED_BY_LABEL.to_owned(), CREATED_BY_VOLSYNC.to_owned())];
    if temporary {
        labels.push((CLEANUP_LABEL.to_owned(), owner.uid().unwrap_or_default()));
    }
    kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        namespace: owner.namespace(),
        labels: Some(labels.into_iter().collect()),
        owner_references: owner
            .controller_owner_ref(&())
            .map(|reference| vec![reference]),
        ..kube::api::ObjectMeta::default()
    }
}
