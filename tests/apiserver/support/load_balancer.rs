//! Replicas behind one address, like a Service: a replica is chosen for each connection, not for each request.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::daemon::Daemon;

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
