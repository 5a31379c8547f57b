//! `/healthz`: whether the process responds and its loops make progress. `/readyz`: whether its observation is complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::AppState;
use crate::state::view::View;
use crate::text::humanize;

/// Alive while every loop of the process makes progress. A hanging loop reports no error; a restart fixes it.
pub(super) async fn healthz<I>(State(context): State<Arc<AppState<I>>>) -> Response {
    match context.own.heartbeats().silent(Instant::now()) {
        None => "ok\n".into_response(),
        Some((name, silent)) => {
            let silent = humanize::duration(silent);
            unavailable(format!(
                "the loop \"{name}\" has made no progress for {silent}\n"
            ))
        }
    }
}

/// Ready once the whole cluster has been observed. A watch that fails later does not make it unready: all replicas would
/// become unready at the same time, and so would the metric that reports the failure.
pub(super) async fn readyz<I>(State(context): State<Arc<AppState<I>>>) -> Response {
    if context.shutdown.is_cancelled() {
        return unavailable("shutting down\n".to_owned());
    }
    let view = context.views.borrow().clone();
    if view.complete() {
        context.was_complete.store(true, Ordering::Relaxed);
    }
    if context.was_complete.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    unavailable(missing(&view))
}

fn unavailable(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// One line per kind that has not been observed.
fn missing(view: &View) -> String {
    let doubts = view.freshness.unsynced();
    doubts
        .map(|(kind, state)| match state.problem() {
            Some(why) => format!("{}: cannot be read: {why}\n", kind.as_str()),
            None => format!("{}: not listed yet\n", kind.as_str()),
        })
        .collect()
}
