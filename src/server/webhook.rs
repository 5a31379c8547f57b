//! `POST /webhook`: hands what Alertmanager says to an [`Intake`], and answers once it is kept.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Context;
use super::payload::{self, Notification};
use super::problem::Problem;
use crate::config::Mode;

/// Largest body read. An alert of ours takes about 1 KiB.
pub const MAX_BODY: usize = 256 * 1024;

/// Most notifications in work at a time; the rest are sent away at once, to come again.
pub const MAX_AT_A_TIME: usize = 16;

/// When to come again after a jam, and after a change of leader or an API server that does not answer.
pub(super) const SOON: Duration = Duration::from_secs(5);
pub(super) const LATER: Duration = Duration::from_secs(15);

/// Where notifications go.
pub trait Intake: Send + Sync + 'static {
    /// Takes a notification; `Ok` once nothing that follows can lose it.
    fn submit(
        &self,
        notification: Notification,
    ) -> impl Future<Output = Result<Accepted, Refused>> + Send;
}

/// What a notification led to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    /// Names of the Remediations made for it, or joined by it.
    pub remediations: Vec<String>,
    /// How many of its alerts ask for nothing.
    pub ignored: usize,
    /// How many of its alerts are about another cluster.
    pub foreign: usize,
}

/// Why a notification is not taken now; all of it passes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Another replica acts.
    #[error("this replica is not the leader")]
    NotLeader,
    /// What the alerts are about cannot be told yet.
    #[error("the cluster's StorageClasses and VolumeSnapshotClasses have not been seen yet")]
    NotSeen,
    /// The Remediation could not be written.
    #[error("failed to record the Remediation: {0}")]
    CannotPersist(String),
    /// Too many wait already.
    #[error("too many notifications are waiting")]
    Full,
}

pub(super) async fn post<I: Intake>(
    State(context): State<Arc<Context<I>>>,
    request: Request,
) -> Response {
    let answer = match context.webhooks.try_acquire() {
        Ok(_permit) => tokio::time::timeout(context.webhook_within, answer(&context, request))
            .await
            .unwrap_or_else(|_| Err(Problem::passing("this took too long", SOON))),
        Err(_) => Err(Problem::from(Refused::Full).unread()),
    };
    let response = answer.into_response();
    context.own.webhook_request(response.status().as_u16());
    response
}

async fn answer<I: Intake>(context: &Context<I>, request: Request) -> Result<Response, Problem> {
    context
        .guard
        .admit_post(request.headers())
        .await
        .map_err(Problem::unread)?;
    let body = to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MAX_BODY} bytes: set max_alerts in Alertmanager's webhook_config"),
        )
    })?;
    let notification = payload::parse(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    if context.views.borrow().mode == Mode::Observe {
        let answer = json!({
            "remediations": [],
            "ignored": notification.alerts.len(),
            "message": "nothing is started: the mode is observe",
        });
        return Ok(Json(answer).into_response());
    }
    let Accepted {
        remediations,
        ignored,
        foreign,
    } = context.intake.submit(notification).await?;
    let answer = json!({ "remediations": remediations, "ignored": ignored, "foreign": foreign });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let says = refused.to_string();
        match refused {
            Refused::Full | Refused::NotSeen => Self::passing(says, SOON),
            Refused::NotLeader => Self::passing(says, LATER).elsewhere(),
            Refused::CannotPersist(_) => Self::passing(says, LATER),
        }
    }
}
