//! A Kubernetes API server inside this process, for the demo: no cluster, no network.
//!
//! It is small, but so close to kube-apiserver that `kubectl` and the clients of this program notice no difference;
//! `tests/contract` runs the same cases on both.
//!
//! ```text
//! request ─► routes ─► handlers ─┬─► list, watch ◄──────────────┐
//!                                └─► write ─► store ─► history ─┘
//!                                      │ decode (schema) → own (apply) → prepare, validate → commit
//!                                      └─► controllers: what follows from deletions
//! ```
//!
//! `resources` lists the served resources: a table for the built-in kinds, and CustomResourceDefinitions. Both are
//! described by `schema`. `view` and `table` convert objects to the representation that the client accepts. All state is in
//! one `cluster::Cluster` behind one lock, so that every request sees one revision.

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

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address; port 0 picks a free one.
    pub address: SocketAddr,
    /// Number of events kept per resource: a watch from before the oldest gets 410 Gone.
    pub remembered_events: usize,
    /// Makes uids and generated names reproducible.
    pub seed: Option<u64>,
    /// Clock for `creationTimestamp` and other times.
    pub clock: Clock,
    /// Whether to collect dependents of deleted owners, empty deleted namespaces, and protect volumes in use, as
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

/// A clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that calls `now`.
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

/// A running server; dropping it ends it and every watch.
#[derive(Debug)]
pub struct ApiServer {
    addr: SocketAddr,
    router: Router,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// State shared by requests.
#[derive(Debug)]
struct Shared {
    cluster: Mutex<Cluster>,
    stop: CancellationToken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        // A panic in a request at worst loses that request's write.
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
        // Disables Nagle's algorithm: otherwise each small response waits for the previous one's acknowledgement.
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

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A client of this server without a socket.
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

    /// Stores objects unchanged, as from a backup, with uid, creationTimestamp and status. Returns those whose kind is not
    /// served.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let mut cluster = self.shared.lock();
        objects
            .into_iter()
            .filter_map(|object| (!cluster.load(object.clone())).then_some(object))
            .collect()
    }

    /// Drops all events and unfinished lists: earlier watches and lists get 410 Gone.
    pub fn compact(&self) {
        let mut cluster = self.shared.lock();
        cluster.store.compact();
        cluster.pages.forget();
    }
}
