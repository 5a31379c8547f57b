//! The embedded cluster: an API server in this process with a simulated world, without external dependencies.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, CustomResourceExt, ResourceExt};

use super::apiserver::{ApiServer, Options};
use super::show::NAMESPACE;
use super::world::{self, World, WorldConfig};
use crate::api::hold::SnapshotHold;
use crate::api::remediation::Remediation;
use crate::api::snapshot::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};
use crate::api::volsync::{ReplicationDestination, ReplicationSource};
use crate::holds::policy;

/// A running cluster; dropping it ends it.
#[derive(Debug)]
pub struct Cluster {
    /// Its actors.
    pub world: World,
    /// Its API server.
    pub server: ApiServer,
}

/// Why it could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server cannot listen.
    #[error("failed to start the embedded API server: {0}")]
    Server(#[from] std::io::Error),
    /// The world cannot be installed.
    #[error("failed to set the embedded cluster up: {0}")]
    World(#[from] world::Error),
}

impl Cluster {
    /// Starts it with the kinds of VolSync, of the snapshot controller and of locksmith, and the hold policy.
    pub async fn start(options: Options, config: WorldConfig) -> Result<Self, Error> {
        let server = ApiServer::start(options).await?;
        let client = server.client();
        Box::pin(install(&client)).await.map_err(Error::World)?;
        let config = WorldConfig {
            controllers: true,
            ..config
        };
        let world = World::start(client, config).await?;
        Ok(Self { world, server })
    }
}

async fn install(client: &Client) -> Result<(), world::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kinds = [
        Remediation::crd(),
        SnapshotHold::crd(),
        ReplicationSource::crd(),
        ReplicationDestination::crd(),
        VolumeSnapshot::crd(),
        VolumeSnapshotClass::crd(),
        VolumeSnapshotContent::crd(),
    ];
    for kind in kinds {
        definitions
            .create(&kube::api::PostParams::default(), &kind)
            .await?;
        let established = conditions::is_crd_established();
        await_condition(definitions.clone(), &kind.name_any(), established).await?;
    }
    let (policy, binding) = policy::objects(NAMESPACE).map_err(kube::Error::SerdeError)?;
    let params = kube::api::PostParams::default();
    Api::all(client.clone()).create(&params, &policy).await?;
    Api::all(client.clone()).create(&params, &binding).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::scenario::{Outage, playbook_jam};
    use crate::demo::world::Timings;

    #[test]
    fn random_identity_names_no_pod() {
        let driver = "rook-ceph.rbd.csi.ceph.com";
        let identity = world::made_up_identity(driver);
        assert!(
            crate::model::is_random_identity(&identity, driver),
            "{identity}"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn playbook_jam_is_reached_on_the_embedded_cluster() {
        let config = WorldConfig::new(Timings::fast());
        let cluster = Cluster::start(Options::default(), config).await.unwrap();
        let jam = playbook_jam(&cluster.world, Outage::Over).await.unwrap();
        assert_eq!((jam.sources.len(), jam.orphaned.len()), (20, 3));
        assert_eq!((jam.stuck_snapshots.len(), jam.pending.len()), (5, 4));
    }
}
