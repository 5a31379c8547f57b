//! `/metrics`: read-only.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::problem::{Problem, internal};
use crate::metrics::{Coding, Format};

pub(super) async fn metrics<I>(
    State(context): State<Arc<AppState<I>>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    context.guard.authorize_get(&headers, "/metrics").await?;
    let sent = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let format = Format::accepted(sent(header::ACCEPT));
    let coding = Coding::accepted(sent(header::ACCEPT_ENCODING));
    let body = context.metrics.scrape(format, coding).await;
    let body = Bytes::from_owner(body.map_err(internal)?);
    let kind = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "accept, accept-encoding"),
    ];
    Ok(match coding {
        Coding::Identity => (kind, body).into_response(),
        Coding::Gzip => (kind, [(header::CONTENT_ENCODING, "gzip")], body).into_response(),
    })
}
