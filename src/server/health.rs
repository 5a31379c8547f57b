//! `/healthz`: whether the process answers. `/readyz`: whether what it shows can be believed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Context;
use crate::model::Reading;
use crate::view::View;

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready once the whole cluster has been seen. A watch that fails later does not unready it: every replica would go
/// at the same time, and with them the metric that tells.
pub(super) async fn readyz<I>(State(context): State<Arc<Context<I>>>) -> Response {
    if context.shutdown.is_cancelled() {
        return not_ready("shutting down\n".to_owned());
    }
    let view = context.views.borrow().clone();
    if view.complete() {
        context.was_complete.store(true, Ordering::Relaxed);
    }
    if context.was_complete.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    not_ready(missing(&view))
}

fn not_ready(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

/// One line a kind that has not been seen.
fn missing(view: &View) -> String {
    let doubts = view.freshness.doubts();
    doubts
        .map(|(kind, reading)| match reading {
            Reading::Failing(why) => format!("{}: cannot be read: {why}\n", kind.as_str()),
            _ => format!("{}: not listed yet\n", kind.as_str()),
        })
        .collect()
}
