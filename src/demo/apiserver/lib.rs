//! A Kubernetes API server inside this process, for the demonstration: no cluster, no network.
//!
//! It is small enough to be read and close enough to kube-apiserver that `kubectl` and the clients of this
//! program see no difference in what they use; `tests/contract` runs the same cases on both.
//!
//! ```text
//! request ─► routes ─► handlers ─┬─► list, watch ◄──────────────┐
//!                                └─► write ─► store ─► history ─┘
//!                                      │ decode (schema) → own (apply) → prepare, validate → commit
//!                                      └─► controllers: what follows from deletions
//! ```
//!
//! `resources` says what is served: a table for the built-in kinds, CustomResourceDefinitions for the rest.
//! `schema` is the one language both are described in. `view` and `table` turn objects into what the client
//! accepts. Everything a request reads or changes is in one `cluster::Cluster` behind one lock, so every
//! request sees one revision.

mod apply;
mod cluster;
mod controllers;
mod discovery;
mod events;
mod failure;
mod handlers;
mod json;
mod list;
mod openapi;
mod patch;
mod random;
mod request;
mod resources;
mod routes;
mod schema;
mod selector;
mod store;
mod subresources;
mod table;
mod view;
mod watch;
mod write;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::serve::ListenerExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use cluster::Cluster;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub address: SocketAddr,
    /// Events remembered per resource: a watch from before the oldest gets 410 Gone.
    pub remembered_events: usize,
    /// Makes uids and generated names the same each time.
    pub seed: Option<u64>,
    /// Where `creationTimestamp` and the like come from.
    pub clock: Clock,
    /// Collect dependents of deleted owners, empty deleted namespaces, and protect volumes in use, as
    /// kube-controller-manager does.
    pub controllers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            remembered_events: 4096,
            seed: None,
            clock: Clock::default(),
            controllers: true,
        }
    }
}

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock of the caller's.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A running server; it ends when this is dropped, and with it every watch.
#[derive(Debug)]
pub struct ApiServer {
    addr: SocketAddr,
    router: Router,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What requests share.
#[derive(Debug)]
struct Shared {
    cluster: Mutex<Cluster>,
    stop: CancellationToken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        // A panic in a request leaves at worst that request's write undone.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiServer {
    /// Starts serving plain HTTP.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            cluster: Mutex::new(Cluster::new(&options)),
            stop: stop.clone(),
        });
        let router = Router::new()
            .fallback(handlers::handle)
            .with_state(shared.clone());
        if options.controllers {
            tokio::spawn(controllers::run(shared.clone()));
        }
        // Small answers, one after the other: without this each waits for the last one's acknowledgement.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let server = axum::serve(listener, router.clone())
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { server.await });
        Ok(Self {
            addr,
            router,
            shared,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A client of this server that goes through no socket.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.router.clone(), "default")
    }

    /// A kubeconfig for other programs.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n- name: demo\n  cluster:\n    server: http://{}\n\
             users:\n- name: demo\n  user: {{}}\n\
             contexts:\n- name: demo\n  context:\n    cluster: demo\n    user: demo\n    namespace: default\n\
             current-context: demo\n",
            self.addr
        )
    }

    /// Puts objects in as they are, as a restored backup would: uid, creationTimestamp, status and all.
    /// Returns those whose kind is not served.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let mut cluster = self.shared.lock();
        objects
            .into_iter()
            .filter_map(|object| (!cluster.load(object.clone())).then_some(object))
            .collect()
    }

    /// Forgets all events and open lists: watches and continued lists from before now get 410 Gone.
    pub fn compact(&self) {
        let mut cluster = self.shared.lock();
        cluster.store.compact();
        cluster.pages.forget();
    }
}
