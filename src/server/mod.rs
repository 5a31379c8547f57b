//! The HTTP server: serves the latest [`View`] and metrics, and receives notifications of Alertmanager.
//!
//! It decides nothing: notifications go to [`ReceiveAlerts`], and responses come from the view.

mod api;
mod auth;
mod body;
mod connection;
mod health;
mod problem;
mod scrape;
pub mod status_page;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;

pub use auth::{AuthError, Authenticator};
pub use status_page::live::PageInfo;
pub use tls::{Certificate, TlsError};
pub use webhook::{MAX_AT_A_TIME, MAX_BODY};

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum_server::Handle;
use axum_server::accept::DefaultAcceptor;
use body::Bodies;
use connection::LimitedAcceptor;
use futures::FutureExt as _;
use problem::Problem;
use status_page::live;
use tokio::net::TcpSocket;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::alerts::{ReceiveAlerts, TestAlertLog};
use crate::metrics::{Metrics, SelfMetrics};
use crate::state::view::View;

/// Maximum number of connections that wait to be accepted; the kernel may have a lower limit (`net.core.somaxconn`).
const BACKLOG: u32 = 1024;

/// Timeout of any response. A scrape may wait for another one.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Timeout for persisting a notification.
const WEBHOOK_WITHIN: Duration = Duration::from_secs(10);

/// Timeout for the headers of a client's first request; for later ones see [`HEADERS_WITHIN`].
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// Timeout for the headers of a request on a kept-alive connection, including the time between two scrapes.
const HEADERS_WITHIN: Duration = Duration::from_secs(90);

/// Largest headers read, and maximum buffered part of a response, in bytes.
const MAX_BUFFER: usize = 64 * 1024;

/// Time for open requests to finish at a shutdown, less than the 30 s that Kubernetes grants in total.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The services that the server is built from.
pub struct Services<I> {
    /// The latest view.
    pub views: watch::Receiver<Arc<View>>,
    /// The exposition of `/metrics`.
    pub metrics: Metrics,
    /// Counters of requests.
    pub own: SelfMetrics,
    /// Receiver of notifications.
    pub alerts: I,
    /// Record of test alerts.
    pub test_alerts: TestAlertLog,
    /// Authenticator of requests.
    pub guard: Authenticator,
    /// Facts about this process for the status page.
    pub page: PageInfo,
    /// Cancelled at shutdown.
    pub shutdown: CancellationToken,
}

/// The state that every handler shares.
struct AppState<I> {
    views: watch::Receiver<Arc<View>>,
    metrics: Metrics,
    own: SelfMetrics,
    alerts: I,
    test_alerts: TestAlertLog,
    guard: Authenticator,
    page: PageInfo,
    shutdown: CancellationToken,
    was_complete: AtomicBool,
    bodies: Bodies,
    webhooks: Semaphore,
    followers: Arc<Semaphore>,
    webhook_within: Duration,
}

/// Creates the router.
pub fn router<I: ReceiveAlerts>(services: Services<I>) -> Router {
    routes(services, WEBHOOK_WITHIN)
}

fn routes<I: ReceiveAlerts>(services: Services<I>, webhook_within: Duration) -> Router {
    let Services {
        views,
        metrics,
        own,
        alerts,
        test_alerts,
        guard,
        page,
        shutdown,
    } = services;
    let context = Arc::new(AppState {
        views,
        metrics,
        own,
        alerts,
        test_alerts,
        guard,
        page,
        shutdown,
        was_complete: AtomicBool::new(false),
        bodies: Bodies::new(),
        webhooks: Semaphore::new(MAX_AT_A_TIME),
        followers: Arc::new(Semaphore::new(live::LIVE_AT_A_TIME)),
        webhook_within,
    });
    Router::new()
        .route("/", get(live::index::<I>))
        .route("/page.css", get(live::style))
        .route("/page.js", get(live::script))
        .route("/favicon.svg", get(live::favicon))
        .route("/events", get(live::events::<I>))
        .route("/metrics", get(scrape::metrics::<I>))
        .merge(api::routes())
        .route("/webhook", post(webhook::post::<I>))
        .route("/healthz", get(health::healthz::<I>))
        .route("/readyz", get(health::readyz::<I>))
        .fallback(problem::nothing_here)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(in_time))
        .with_state(context)
}

/// The response, or an error after [`ANSWER_WITHIN`].
async fn in_time(request: Request, next: Next) -> Result<Response, Problem> {
    tokio::time::timeout(ANSWER_WITHIN, next.run(request))
        .await
        .map_err(|_| Problem::retryable("this took too long", webhook::RETRY_AFTER_FAILURE))
}

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// It stopped unexpectedly.
    #[error("the HTTP server ended: {0}")]
    Ended(#[source] std::io::Error),
}

/// Listens with a backlog of [`BACKLOG`]. The standard library's is 128: the kernel drops some connections beyond it, and their
/// clients take themselves for connected.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restarted process needs the port at once, as with the standard library.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A server that listens, but does not respond yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on `address`; port 0 picks a free one. Needs tokio's runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address, source };
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled, over TLS if there is a `certificate`; then finishes open requests, within 10
    /// s.
    pub async fn serve(
        self,
        router: Router,
        certificate: Option<Certificate>,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(self.listener)
            .map_err(ServeError::Ended)?
            .handle(handle.clone())
            .first_request_timeout(FIRST_WITHIN)
            .http1_only()
            .acceptor(LimitedAcceptor::new(DefaultAcceptor));
        server
            .http_builder()
            .http1()
            .header_read_timeout(HEADERS_WITHIN)
            .max_buf_size(MAX_BUFFER);
        let service = router.into_make_service();
        let mut serving = match &certificate {
            None => server.serve(service).boxed(),
            Some(certificate) => server
                .acceptor(LimitedAcceptor::new(certificate.acceptor()))
                .serve(service)
                .boxed(),
        };
        tokio::select! {
            ended = &mut serving => return ended.map_err(ServeError::Ended),
            () = tls::keep_fresh(certificate.as_ref()) => {}
            () = shutdown.cancelled() => handle.graceful_shutdown(Some(DRAIN_WITHIN)),
        }
        serving.await.map_err(ServeError::Ended)
    }
}
