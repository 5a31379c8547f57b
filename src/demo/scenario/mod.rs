//! Known states of a [`World`](super::world::World), reached through its API like people and Flux would.

mod app;
mod cast;
mod healthy;
mod playbook_jam;
mod wait;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

pub use app::{App, Restore};
pub use playbook_jam::{Jam, Outage, Pending, playbook_jam};
pub use wait::until;

use super::world::{self, Actor};

/// Field manager of scenarios: Flux's, as in a GitOps cluster.
pub const MANAGER: &str = "kustomize-controller";

/// Why a state was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request, or did not respond.
    #[error("failed to write the scenario: {0}")]
    Api(#[from] kube::Error),
    /// The world could not be installed.
    #[error(transparent)]
    World(#[from] world::Error),
    /// The actors did not reach the state in time.
    #[error("waited {0} s in vain for {1}")]
    Timeout(u64, String),
}

/// An object with its uid.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

impl Identity {
    /// Identifies `object`.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        }
    }
}

/// Creates the namespaces that are missing.
pub async fn namespaces(person: &Actor, names: &[&str]) -> Result<(), Error> {
    for name in names {
        let metadata = ObjectMeta {
            name: Some((*name).to_owned()),
            ..ObjectMeta::default()
        };
        person
            .create(
                &person.all(),
                &Namespace {
                    metadata,
                    ..Namespace::default()
                },
            )
            .await?;
    }
    Ok(())
}
