//! An error response: `{"error": "…"}`, with `Retry-After` if a retry may succeed.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The error of a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: String,
    retry_after: Option<Duration>,
    closes: bool,
}

impl Problem {
    /// An error for which a retry is useless.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            retry_after: None,
            closes: false,
        }
    }

    /// Closes the connection after the response: the request body was not read, so the connection cannot be reused.
    pub(super) fn close(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// Closes the connection after the response, so that the client's next one may reach another replica: a Service chooses
    /// a replica for each connection.
    pub(super) fn on_new_connection(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// An error for which a retry may succeed: Alertmanager retries a request only after a 5xx.
    pub(super) fn retryable(error: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }
}

/// An error that should not occur.
pub(super) fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// The path does not exist.
pub(super) async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not found; see /")
}

/// The path exists, but not for this method; axum adds the header `Allow`.
pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method not allowed; see the header Allow",
    )
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let unauthorized = self.status == StatusCode::UNAUTHORIZED;
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        if let Some(after) = self.retry_after {
            let after = HeaderValue::from(after.as_secs());
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        if self.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
