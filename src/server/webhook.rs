//! `POST /webhook`: passes a notification to [`ReceiveAlerts`], and responds once it is persisted.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;

use super::AppState;
use super::problem::Problem;
use crate::alerts::{self, Accepted, ReceiveAlerts, Refused};
use crate::config::Mode;
use crate::metrics::AlertSource;

/// Largest body read, in bytes. One of our alerts takes about 1 KiB.
pub const MAX_BODY: usize = 256 * 1024;

/// Maximum number of concurrent notifications; further ones are rejected immediately with `Retry-After`.
pub const MAX_AT_A_TIME: usize = 16;

/// `Retry-After` under load.
pub(super) const RETRY_AFTER_BUSY: Duration = Duration::from_secs(5);

/// `Retry-After` after a change of leader or a failure of the API server.
pub(super) const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(15);

pub(super) async fn post<I: ReceiveAlerts>(
    State(context): State<Arc<AppState<I>>>,
    request: Request,
) -> Response {
    let response = answer(&context, request).await.into_response();
    let status = response.status();
    context.own.webhook_request(status.as_u16());
    if !status.is_success() {
        context
            .test_alerts
            .record_refusal(status.as_u16(), Timestamp::now());
    }
    response
}

async fn answer<I: ReceiveAlerts>(
    context: &AppState<I>,
    request: Request,
) -> Result<Response, Problem> {
    let admitted = context.guard.authorize_post(request.headers()).await;
    admitted.map_err(Problem::close)?;
    if !is_json(request.headers()) {
        let wanted = "the body must be sent as Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted).close());
    }
    let (body, _memory) = context.bodies.read(request.into_body()).await?;
    let notification = alerts::parse(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let (via, now) = (AlertSource::Webhook, Timestamp::now());
    context.own.alert_arrived(via, now);
    let arrivals = context.test_alerts.arrivals(&notification.alerts, via, now);
    if context.views.borrow().mode == Mode::Observe {
        context.test_alerts.record(arrivals);
        let answer = json!({
            "remediations": [],
            "ignored": notification.alerts.len(),
            "message": "no run is started: the mode is observe",
        });
        return Ok(Json(answer).into_response());
    }
    // A slot is taken only after the body is read, since the client decides how fast the body arrives.
    let _place = context.webhooks.try_acquire().map_err(|_| Refused::Full)?;
    let submitted = context.alerts.receive(notification);
    let Accepted {
        remediations,
        ignored,
        other_cluster,
    } = tokio::time::timeout(context.webhook_within, submitted)
        .await
        .map_err(|_| {
            Problem::retryable("timed out while recording the alerts", RETRY_AFTER_BUSY)
        })??;
    context.test_alerts.record(arrivals);
    let answer =
        json!({ "remediations": remediations, "ignored": ignored, "otherCluster": other_cluster });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Whether the body is declared as JSON. A web page may post any other type across origins without a preflight request, for
/// example to a port-forward on its reader's machine.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = declared.and_then(|declared| declared.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let says = refused.to_string();
        match refused {
            Refused::Full | Refused::NotSeen => Self::retryable(says, RETRY_AFTER_BUSY),
            Refused::NotLeader => Self::retryable(says, RETRY_AFTER_FAILURE).on_new_connection(),
            Refused::CannotPersist(_) => Self::retryable(says, RETRY_AFTER_FAILURE),
        }
    }
}
