//! The kubelet of the provisioner's node: serves its log at any rate.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use tokio_util::task::AbortOnDropHandle;

/// Interval at which lines are written.
const BEAT: Duration = Duration::from_millis(10);

/// Serves logs until dropped.
pub struct Kubelet {
    port: u16,
    log: Arc<Log>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Log {
    /// Lines per second, to each reader.
    rate: AtomicU64,
    written: AtomicU64,
}

#[derive(serde::Deserialize)]
struct Options {
    #[serde(default)]
    follow: bool,
}

impl Kubelet {
    /// Listens, without writing lines yet.
    pub async fn start() -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let tls = RustlsConfig::from_pem(cert.into_bytes(), key.into_bytes()).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Log::default());
        let app = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(answer))
            .with_state(log.clone());
        let server = axum_server::from_tcp_rustls(listener, tls.unwrap()).unwrap();
        let serving = async move { server.serve(app.into_make_service()).await.unwrap() };
        Self {
            port,
            log,
            _server: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the number of lines per second.
    pub fn write(&self, lines_a_second: u64) {
        self.log.rate.store(lines_a_second, Ordering::Relaxed);
    }

    /// Number of lines sent so far.
    pub fn written(&self) -> u64 {
        self.log.written.load(Ordering::Relaxed)
    }
}

async fn answer(State(log): State<Arc<Log>>, Query(options): Query<Options>) -> Response {
    if !options.follow {
        return String::new().into_response();
    }
    let mut beat = tokio::time::interval(BEAT);
    // Missed intervals are not made up for, as their lines would have the same time.
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let lines = futures::stream::unfold((log, beat), |(log, mut beat)| async move {
        beat.tick().await;
        let rate = log.rate.load(Ordering::Relaxed);
        let lines = rate * u64::try_from(BEAT.as_millis()).unwrap() / 1000;
        log.written.fetch_add(lines, Ordering::Relaxed);
        let lines = some_lines(usize::try_from(lines).unwrap());
        Some((Ok::<_, std::convert::Infallible>(lines), (log, beat)))
    });
    Body::from_stream(lines).into_response()
}

/// Typical lines of a driver, with unique timestamps, since the log is always read with them.
fn some_lines(number: usize) -> String {
    let now = jiff::Timestamp::now();
    let mut lines = String::new();
    for at in 0..number {
        let at = now + Duration::from_micros(u64::try_from(at).unwrap());
        writeln!(
            lines,
            "{at:.9} I1124 03:10:12.331840       1 omap.go:89] ID: 17 Req-ID: pvc-4b0c4d5e-9f6a-7f1e got omap values: (pool=\"replicapool\", namespace=\"\", name=\"csi.volumes.default\"): map[]"
        )
        .unwrap();
    }
    lines
}
