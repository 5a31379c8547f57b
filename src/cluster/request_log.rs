//! Clients that log each request at level debug: method, path, status and duration.

use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::Service;
use tower::layer::layer_fn;

/// A client for `config`, with kube's retries of reads.
pub fn logging(config: Config) -> kube::Result<Client> {
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&layer_fn(LogRequests))
        .build())
}

/// Logs what passes.
struct LogRequests<S>(S);

impl<S, B> Service<Request<Body>> for LogRequests<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Display,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let begun = Instant::now();
        let answer = self.0.call(request);
        async move {
            let answer = answer.await;
            // A watch is answered at once, and its events follow.
            let took = begun.elapsed();
            match &answer {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    tracing::debug!(%method, %uri, status, ?took, "request");
                }
                Err(error) => tracing::debug!(%method, %uri, %error, ?took, "request failed"),
            }
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn request_is_passed_on_and_answered() {
        let service = tower::service_fn(async |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            Ok::<_, Infallible>(Response::new(path))
        });
        let request = Request::get("/version").body(Body::empty()).unwrap();
        let answer = LogRequests(service).call(request).await.unwrap();
        assert_eq!(answer.into_body(), "/version");
    }
}
