//! Authenticates and authorizes tokens at the API server.

use std::time::Duration;

use axum::http::StatusCode;
use kube::Client;
use tokio::sync::Semaphore;

use super::super::problem::Problem;
use super::super::webhook::{RETRY_AFTER_BUSY, RETRY_AFTER_FAILURE};
use super::unauthorized;
use crate::cluster::reviews;

/// Timeout of both requests together, shorter than that of a webhook.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Maximum number of concurrent reviews: unauthenticated clients must not put load on the API server.
const AT_A_TIME: usize = 8;

/// TokenReview and SubjectAccessReview.
pub(super) struct Reviews {
    client: Client,
    places: Semaphore,
}

impl Reviews {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            places: Semaphore::new(AT_A_TIME),
        }
    }

    /// Authorizes the owner of `token` for `verb` on `path`.
    pub(super) async fn authorize(
        &self,
        token: &str,
        verb: &'static str,
        path: &'static str,
    ) -> Result<(), Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Problem::retryable(
                "too many tokens are being reviewed",
                RETRY_AFTER_BUSY,
            ));
        };
        let asked = async {
            let Some(user) = reviews::owner_of_token(&self.client, token).await? else {
                let unknown = unauthorized("the API server does not accept the token");
                return Ok(Err(unknown));
            };
            let name = user.username.clone().unwrap_or_default();
            let may = reviews::may(&self.client, user, verb, path).await?;
            let forbidden = || {
                let message = format!("{name} may not {verb} {path}");
                Problem::new(StatusCode::FORBIDDEN, message)
            };
            Ok::<_, kube::Error>(may.then_some(()).ok_or_else(forbidden))
        };
        match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to review a token");
                Err(Problem::retryable(
                    "the API server cannot review the token",
                    RETRY_AFTER_FAILURE,
                ))
            }
            Err(_) => Err(Problem::retryable(
                "the API server did not answer in time",
                RETRY_AFTER_FAILURE,
            )),
        }
    }
}
