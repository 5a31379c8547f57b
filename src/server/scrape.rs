//! `/metrics`: read-only.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::problem::{Problem, internal};
use crate::metrics::Format;

pub(super) async fn metrics<I>(
    State(context): State<Arc<AppState<I>>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    context.guard.authorize_get(&headers, "/metrics").await?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let body = context.metrics.scrape(format).await.map_err(internal)?;
    let body = Bytes::from_owner(Arc::<[u8]>::from(body));
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}
