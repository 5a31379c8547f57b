//! The controllers of kube-controller-manager that this world needs, for an API server without one.
//!
//! ```text
//! deployments   Deployment ─► ReplicaSet, one per Pod template
//! replica_sets  ReplicaSet ─► Pods
//! daemon_sets   DaemonSet  ─► a Pod on every Node
//! claims        PersistentVolumeClaim ─► left to its provisioner, then bound to what that made
//! volumes       PersistentVolume ─► released when its claim is gone
//! ```

mod claims;
mod daemon_sets;
mod deployments;
mod pods;
mod replica_sets;
mod volumes;

use std::sync::Arc;

use kube::Client;

use super::actor::Actor;
use super::config::WorldConfig;
use super::events::Recorder;

/// State shared by the controllers.
#[derive(Clone, Debug)]
struct Manager {
    actor: Actor,
    recorder: Arc<Recorder>,
    config: WorldConfig,
}

/// Runs until dropped.
pub(super) async fn run(client: Client, config: WorldConfig) {
    let actor = Actor::new(client, "kube-controller-manager");
    let manager = Manager {
        recorder: Arc::new(Recorder::new(actor.clone(), "persistentvolume-controller")),
        actor,
        config,
    };
    tokio::join!(
        deployments::run(manager.clone()),
        replica_sets::run(manager.clone()),
        daemon_sets::run(manager.clone()),
        claims::run(manager.clone()),
        volumes::run(manager),
    );
}
