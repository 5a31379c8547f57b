//! A proxy between the program and the API server: a test decides about each request.

use std::convert::Infallible;
use std::future::ready;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use kube::Client;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use tower::{Service, service_fn};

use crate::testbed::Identity;

/// Larger than any object of these tests.
const BODY_LIMIT: usize = 4 << 20;

/// Decides about a request.
pub type Script = Arc<dyn Fn(Call) -> BoxFuture<'static, Response> + Send + Sync>;

/// Lets `script` decide about every request.
pub fn script<F>(script: impl Fn(Call) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = Response> + Send + 'static,
{
    Arc::new(move |call| Box::pin(script(call)))
}

/// A request in transit.
pub struct Call {
    upstream: Client,
    parts: Parts,
    body: Bytes,
}

impl Call {
    pub fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Body of the request.
    pub fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// The request in one line.
    pub fn text(&self) -> String {
        format!("{} {}", self.method(), self.uri().path())
    }

    /// Whether it only reads. A dry run or a review does not: both are creates in the audit log.
    pub fn is_read(&self) -> bool {
        matches!(*self.method(), Method::GET | Method::HEAD)
    }

    /// Whether it requests a change. A dry run, such as the proof of a hold, stores nothing.
    pub fn is_write(&self) -> bool {
        let query = self.uri().query().unwrap_or_default();
        let is_dry_run = query.split('&').any(|pair| pair == "dryRun=All");
        !self.is_read() && !is_dry_run
    }

    pub fn is_watch(&self) -> bool {
        let query = self.uri().query().unwrap_or_default();
        query.split('&').any(|pair| pair == "watch=true")
    }

    /// Whether it is for a Lease.
    pub fn is_lease(&self) -> bool {
        self.uri().path().contains("/leases")
    }

    /// Whether it is for an Event.
    pub fn is_event(&self) -> bool {
        self.uri().path().contains("/events")
    }

    /// The API server's response. A write in transit arrives even if the program no longer waits for it.
    pub async fn forward(self) -> Response {
        if self.is_write() {
            tokio::spawn(self.send()).await.unwrap()
        } else {
            self.send().await
        }
    }

    async fn send(self) -> Response {
        let mut parts = self.parts;
        // The connection to the API server has its own headers.
        for header in ["host", "connection", "content-length", "accept-encoding"] {
            parts.headers.remove(header);
        }
        let body = kube::client::Body::from(self.body.to_vec());
        match self.upstream.send(Request::from_parts(parts, body)).await {
            Ok(answer) => answer.map(Body::new),
            Err(error) => status(StatusCode::BAD_GATEWAY, "InternalError", &error.to_string()),
        }
    }
}

/// A response in the API server's format.
pub fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}

/// Closes the connection instead of a response.
pub fn no_answer() -> Response {
    let mut answer = Response::default();
    answer.extensions_mut().insert(NoAnswer);
    answer
}

#[derive(Clone)]
struct NoAnswer;

/// Calls the script for each request. A router cannot fail, and so cannot leave a request without a response.
#[derive(Clone)]
struct Front {
    upstream: Client,
    script: Script,
}

impl<B> Service<Request<B>> for Front
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = axum::Error;
    type Future = BoxFuture<'static, Result<Response, axum::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { upstream, script } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(Body::new(body), BODY_LIMIT).await?;
            let call = Call {
                upstream,
                parts,
                body,
            };
            let answer = script(call).await;
            if answer.extensions().get::<NoAnswer>().is_some() {
                let reset = std::io::Error::from(ErrorKind::ConnectionReset);
                return Err(axum::Error::new(reset));
            }
            Ok(answer)
        })
    }
}

/// Runs until dropped.
pub struct Proxy {
    kubeconfig: PathBuf,
    _directory: tempfile::TempDir,
    _server: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts one that sends to the API server as `user`.
    pub fn start(user: &Identity, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front {
            upstream: user.client(),
            script,
        };
        let connected = service_fn(move |_| ready(Ok::<_, Infallible>(front.clone())));
        let server = axum_server::from_tcp(listener).unwrap();
        let serving = async move { server.serve(connected).await.unwrap() };
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody", "namespace": crate::support::stage::NAMESPACE}}],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        Self {
            kubeconfig,
            _directory: directory,
            _server: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Kubeconfig that leads through the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}
