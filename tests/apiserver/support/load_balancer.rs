//! Replicas behind one address, like a Service: a replica is chosen for each connection, not for each request.

use std::sync::Arc;

use locksmith::api::remediation::Remediation;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::daemon::Daemon;
use crate::support::monitors::{Monitor, Places};
use crate::support::stage::{DRIVER, Settings, Stage};

/// A substitute for a Service; dropping it ends it.
pub struct Balancer {
    address: String,
    _serving: AbortOnDropHandle<()>,
}

impl Balancer {
    /// Passes connections to `replicas` in turn.
    pub async fn start(replicas: &[&Daemon]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let replicas: Vec<_> = replicas
            .iter()
            .map(|one| one.address().to_owned())
            .collect();
        let serving = async move {
            for replica in replicas.iter().cycle() {
                let (mut from, _) = listener.accept().await.unwrap();
                let replica = replica.clone();
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(replica).await {
                        // The first side that closes ends it.
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        };
        Self {
            address,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// URL of a page of the chosen replica.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn alertmanager_reaches_the_leader_through_a_service() {
    let stage = Stage::jammed().await;
    let settings = Settings::default();
    let leader = stage.daemon(&settings).await;
    let standby = stage.standby(&settings).await;
    let service = Balancer::start(&[&standby, &leader]).await;
    let places = Places::new();
    let alertmanager = Monitor::alertmanager(&places, &service.url("/webhook")).await;
    let driver = format!("driver={DRIVER}");
    alertmanager.fire("LocksmithOperationLocked", &[&driver, "severity=critical"]);
    let any = |runs: &[Arc<Remediation>]| !runs.is_empty();
    stage.until::<Remediation>("a run", any).await;
    let turned_away = "locksmith_webhook_requests_total{code=\"503\"}";
    assert!(standby.metrics().await[turned_away] >= 1.0);
}
