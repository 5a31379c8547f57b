//! The kubelets' `containerLogs` endpoint, from which the API server reads the logs of containers.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use locksmith::demo::world::Logs;
use serde::Deserialize;

/// A bound port with a self-signed certificate; by default the API server does not verify kubelets.
pub(super) struct Server {
    listener: TcpListener,
    tls: RustlsConfig,
    logs: Logs,
}

/// The supported part of `PodLogOptions`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    follow: bool,
    timestamps: bool,
    tail_lines: Option<usize>,
    since_time: Option<Timestamp>,
    since_seconds: Option<i64>,
}

impl Server {
    pub(super) async fn bind(logs: Logs) -> Self {
        // Fails only if the process has a provider already, which is sufficient.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let tls = RustlsConfig::from_pem(cert.into_bytes(), key.into_bytes())
            .await
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            tls,
            logs,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(super) async fn serve(self) {
        let app = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(answer))
            .with_state(self.logs);
        let server = axum_server::from_tcp_rustls(self.listener, self.tls).unwrap();
        server.serve(app.into_make_service()).await.unwrap();
    }
}

async fn answer(
    State(logs): State<Logs>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(options): Query<Options>,
) -> Response {
    let Some(mut reader) = logs.read(&namespace, &pod, &container) else {
        let message = format!("container \"{container}\" in pod \"{pod}\" is not available");
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    let written = reader.written().into_iter();
    let written = written.map(|line| (moment(line.at.as_nanosecond()), line.text));
    let first = render(&select(written.collect(), &options), options.timestamps);
    if !options.follow {
        return first.into_response();
    }
    let first = stream::iter([Ok::<_, Infallible>(first)]);
    let rest = stream::unfold(reader, move |mut reader| async move {
        let lines = reader.more().await?.into_iter();
        let lines = lines.map(|line| (moment(line.at.as_nanosecond()), line.text));
        let lines: Vec<_> = lines.collect();
        Some((Ok(render(&lines, options.timestamps)), reader))
    });
    Body::from_stream(first.chain(rest)).into_response()
}

/// Time and text of a line, without the line break.
type Line = (Timestamp, String);

fn moment(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap()
}

/// The requested lines among those already written.
fn select(mut lines: Vec<Line>, options: &Options) -> Vec<Line> {
    let ago = options
        .since_seconds
        .map(|seconds| Timestamp::now() - SignedDuration::from_secs(seconds));
    if let Some(since) = options.since_time.or(ago) {
        lines.retain(|(at, _)| *at >= since);
    }
    let skip = options
        .tail_lines
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    lines.split_off(skip)
}

/// The lines with line breaks, and with timestamps if requested.
fn render(lines: &[Line], timestamps: bool) -> String {
    let mut text = String::new();
    for (at, line) in lines {
        if timestamps {
            // Writing to a String cannot fail.
            let _ = write!(text, "{at:.9} ");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}
