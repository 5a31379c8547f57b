//! A simulated cluster around the client of an API server: kubelets, CSI sidecars, a Ceph driver, VolSync.
//!
//! Every actor is an ordinary API client with its own field manager. It watches and writes the same objects as the real
//! one. Actors do not know each other: they interact through the API server and, where real ones interact elsewhere,
//! through the [`Ceph`] backend and the containers' [`Logs`].
//!
//! ```text
//! kubelet    Pods ─► scheduled, running, gone; serves their logs
//! csi        a provisioner Pod ─► its sidecars, each led by a Lease ─► volumes and snapshots
//! ceph       the driver inside each of these Pods, its locks, and the backend they share
//! volsync    ReplicationSources and -Destinations ─► snapshots, temporary claims; the volume populator
//! operator   ceph-csi-operator: owns the provisioner's Deployment
//! manager    kube-controller-manager, where there is none: workloads ─► Pods; claims and volumes bound
//! snapshots  the snapshot controller, where there is none: VolumeSnapshots ─► their contents
//! ```

mod actor;
pub mod ceph;
mod config;
mod control;
mod csi;
mod events;
mod install;
mod klog;
mod kubelet;
mod logs;
mod manager;
mod names;
mod operator;
mod quantity;
mod snapshots;
mod timings;
mod volsync;
mod workloads;

use std::fmt;

use kube::Client;
use tokio::task::JoinSet;

pub use actor::Actor;
pub use ceph::{Ceph, HeldLock, Scope};
pub use config::{Layout, ProvisionerMessages, WorldConfig};
pub use csi::made_up_identity;
pub use install::{IMMEDIATE_CLASS, SNAPSHOT_CLASS, WAITING_CLASS};
pub use logs::{Logs, PodRef};
pub use names::{lease_names, provisioner_deployment};
pub use timings::{LeaseTimings, Retry, Timings};

/// Why a world could not be started or installed. Once it runs, its actors retry after each failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request, or did not respond.
    #[error("failed to reach an agreement with the API server: {0}")]
    Api(#[from] kube::Error),
    /// The API server stopped while something was awaited.
    #[error("failed to wait for the API server: {0}")]
    Wait(#[from] kube::runtime::wait::Error),
    /// The kubelet's key pair could not be created.
    #[error("failed to make the kubelet's certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The kubelet's port could not be bound.
    #[error("failed to listen for log requests: {0}")]
    Listen(#[from] std::io::Error),
}

/// The running actors; dropping it ends them.
pub struct World {
    client: Client,
    config: WorldConfig,
    ceph: Ceph,
    logs: Logs,
    actors: JoinSet<()>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl World {
    /// Starts every actor on the API server behind `client`.
    ///
    /// The kinds of VolSync and of the snapshot controller must be installed already; [`World::install`] creates the
    /// objects that the actors work on.
    pub async fn start(client: Client, config: WorldConfig) -> Result<Self, Error> {
        let (ceph, logs) = (Ceph::default(), Logs::default());
        let mut actors = JoinSet::new();
        actors.spawn(kubelet::start(&client, &config, logs.clone()).await?);
        actors.spawn(csi::run(
            client.clone(),
            config.clone(),
            ceph.clone(),
            logs.clone(),
        ));
        actors.spawn(volsync::run(client.clone(), config.clone()));
        if config.layout == Layout::OperatorManaged {
            actors.spawn(operator::run(client.clone(), config.clone()));
        }
        if config.controllers {
            actors.spawn(manager::run(client.clone(), config.clone()));
            actors.spawn(snapshots::run(client.clone(), config.clone()));
        }
        Ok(Self {
            client,
            config,
            ceph,
            logs,
            actors,
        })
    }

    /// Creates the namespaces, classes and workloads of a Rook cluster; existing objects are not changed.
    pub async fn install(&self) -> Result<(), Error> {
        install::install(&self.client, &self.config).await
    }

    /// The storage backend, in which faults are injected.
    pub fn ceph(&self) -> &Ceph {
        &self.ceph
    }

    /// The logs of the containers.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The configuration of this world.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// An API client that writes as `manager`, to act as a person or Flux.
    pub fn person(&self, manager: &'static str) -> Actor {
        Actor::new(self.client.clone(), manager)
    }

    /// Ends every actor and waits for them. Objects remain unchanged.
    pub async fn shutdown(mut self) {
        self.actors.shutdown().await;
    }
}
