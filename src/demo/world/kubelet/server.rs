//! The kubelet's `containerLogs` endpoint, from which the API server reads the logs of containers.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use futures::stream;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::Error;
use crate::logs::{Line, Logs, Reader};

/// A bound port with a self-signed certificate; by default the API server does not verify kubelets.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    port: u16,
    tls: RustlsConfig,
    logs: Logs,
}

/// The supported part of `PodLogOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    follow: bool,
    timestamps: bool,
    tail_lines: Option<usize>,
    since_time: Option<Timestamp>,
    since_seconds: Option<i64>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub(super) async fn bind(logs: Logs) -> Result<Self, Error> {
        // Fails only if the process has a provider already, which is sufficient.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let tls = RustlsConfig::from_pem(cert.into_bytes(), key.into_bytes()).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok(Self {
            listener,
            port,
            tls,
            logs,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves until dropped.
    pub(super) async fn serve(self) {
        let handle = Handle::new();
        let _ends = EndsOnDrop(handle.clone());
        let app = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(answer))
            .with_state(self.logs);
        let served = match axum_server::from_tcp_rustls(self.listener, self.tls) {
            Ok(server) => server.handle(handle).serve(app.into_make_service()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "logs are served no more");
        }
    }
}

/// Connections run in tasks of their own, which dropping the server's future does not end.
struct EndsOnDrop<A: axum_server::Address>(Handle<A>);

impl<A: axum_server::Address> Drop for EndsOnDrop<A> {
    fn drop(&mut self) {
        self.0.shutdown();
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
    let first = render(
        &select(reader.written(), &options, Timestamp::now()),
        options.timestamps,
    );
    if !options.follow {
        return first.into_response();
    }
    let timestamps = options.timestamps;
    let start = stream::once(async move { Ok::<_, std::convert::Infallible>(first) });
    let rest = stream::unfold(reader, move |reader: Reader| follow(reader, timestamps));
    Body::from_stream(futures::StreamExt::chain(start, rest)).into_response()
}

async fn follow(
    mut reader: Reader,
    timestamps: bool,
) -> Option<(Result<String, std::convert::Infallible>, Reader)> {
    let lines = reader.more().await?;
    Some((Ok(render(&lines, timestamps)), reader))
}

/// The requested lines among those already written.
fn select(mut lines: Vec<Line>, options: &Options, now: Timestamp) -> Vec<Line> {
    let ago = options
        .since_seconds
        .map(|seconds| now - SignedDuration::from_secs(seconds));
    if let Some(since) = options.since_time.or(ago) {
        lines.retain(|line| line.at >= since);
    }
    let skip = options
        .tail_lines
        .map_or(0, |tail| lines.len().saturating_sub(tail));
    lines.split_off(skip)
}

/// The lines with line breaks, and with timestamps if requested.
fn render(lines: &[Line], timestamps: bool) -> String {
    let mut text = String::new();
    for line in lines {
        if timestamps {
            // Writing to a String cannot fail.
            let _ = write!(text, "{:.9} ", line.at);
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let line = |at: &str, text: &str| Line {
            at: at.parse().unwrap(),
            text: text.into(),
        };
        vec![
            line("2026-06-23T08:10:51.1Z", "one"),
            line("2026-06-23T08:10:52Z", "two"),
            line("2026-06-23T08:10:53Z", "three"),
        ]
    }

    fn texts(options: &Options) -> Vec<String> {
        let now = "2026-06-23T08:10:54Z".parse().unwrap();
        select(lines(), options, now)
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn tail_returns_the_last_lines() {
        assert_eq!(
            texts(&Options {
                tail_lines: Some(2),
                ..Options::default()
            }),
            ["two", "three"]
        );
        assert_eq!(
            texts(&Options {
                tail_lines: Some(9),
                ..Options::default()
            })
            .len(),
            3
        );
        assert_eq!(
            texts(&Options {
                tail_lines: Some(0),
                ..Options::default()
            })
            .len(),
            0
        );
    }

    #[test]
    fn since_time_is_inclusive() {
        let since_time = Some("2026-06-23T08:10:52Z".parse().unwrap());
        assert_eq!(
            texts(&Options {
                since_time,
                ..Options::default()
            }),
            ["two", "three"]
        );
        assert_eq!(
            texts(&Options {
                since_seconds: Some(1),
                ..Options::default()
            }),
            ["three"]
        );
    }

    #[test]
    fn timestamps_are_rfc3339_with_nanoseconds() {
        assert_eq!(
            render(&lines()[..1], true),
            "2026-06-23T08:10:51.100000000Z one\n"
        );
        assert_eq!(render(&lines()[1..], false), "two\nthree\n");
    }
}
