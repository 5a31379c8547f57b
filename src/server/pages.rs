//! `/`, `/metrics` and `/api/v1/status`: read-only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Context;
use super::problem::Problem;
use crate::metrics::Format;

const INDEX: &str = concat!(
    "locksmith ",
    env!("CARGO_PKG_VERSION"),
    "

GET  /metrics        what is stuck, held and done, for Prometheus
GET  /api/v1/status  the same as JSON, with what was seen
POST /webhook        notifications of Alertmanager
GET  /healthz        whether it answers
GET  /readyz         whether it has seen the whole cluster
"
);

pub(super) async fn index() -> &'static str {
    INDEX
}

pub(super) async fn metrics<I>(
    State(context): State<Arc<Context<I>>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    context.guard.admit_get(&headers, "/metrics").await?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let body = context.metrics.scrape(format).await.map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// Written beside the runtime, as the metrics are.
pub(super) async fn status<I>(
    State(context): State<Arc<Context<I>>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    context.guard.admit_get(&headers, "/api/v1/status").await?;
    let view = context.views.borrow().clone();
    let body = tokio::task::spawn_blocking(move || serde_json::to_vec(&*view))
        .await
        .map_err(internal)?
        .map_err(internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; see /")
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
