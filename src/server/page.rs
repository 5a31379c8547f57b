//! `/` and what belongs to it: the status page, its style and script, and the events that keep it live. Read-only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse};
use futures::{Stream, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::problem::Problem;
use crate::page;
use crate::view::View;

/// How many may follow the page at the same time; each costs a rendering a second at most.
pub(super) const LIVE_AT_A_TIME: usize = 32;

/// Between two events: a person reads no faster.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Ages go on although nothing changes.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// When somebody who was sent away may come again.
const LATER: Duration = Duration::from_secs(30);

/// Nothing but what this server says itself, and nobody may frame it.
const POLICY: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

pub(super) async fn index<I>(
    State(context): State<Arc<Context<I>>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    context.guard.admit_get(&headers, "/").await?;
    let view = context.views.borrow().clone();
    let document = page::document(&view, Timestamp::now());
    Ok((POLICY, Html(document.into_string())))
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css")], page::STYLE)
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript")], page::SCRIPT)
}

/// An event whenever the page changes, until the client goes or the process ends.
pub(super) async fn events<I>(
    State(context): State<Arc<Context<I>>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    context.guard.admit_get(&headers, "/events").await?;
    let permit = context.followers.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::passing("too many follow the page", LATER))?;
    let follower = Follower {
        views: context.views.clone(),
        shutdown: context.shutdown.clone(),
        begun: false,
        _permit: permit,
    };
    Ok(Sse::new(follower.events()))
}

struct Follower {
    views: watch::Receiver<Arc<View>>,
    shutdown: CancellationToken,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, axum::Error>> {
        stream::unfold(self, async |mut follower| {
            let shutdown = follower.shutdown.clone();
            let event = shutdown.run_until_cancelled(follower.next()).await??;
            Some((event, follower))
        })
    }

    /// The next event, or `None` when there will be no other view.
    async fn next(&mut self) -> Option<Result<Event, axum::Error>> {
        if self.begun {
            tokio::time::sleep(AT_MOST_EVERY).await;
            let change = tokio::time::timeout(AT_LEAST_EVERY, self.views.changed()).await;
            // Ended, unless it is only that nothing has changed.
            change.unwrap_or(Ok(())).ok()?;
        }
        self.begun = true;
        let view = self.views.borrow_and_update().clone();
        let now = Timestamp::now();
        let data = json!({
            "title": page::title(&view),
            "at": page::clock(now),
            "content": page::content(&view, now).into_string(),
        });
        Some(Event::default().event("view").json_data(data))
    }
}
