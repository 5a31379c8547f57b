//! `/` and what belongs to it: the status page, its style and script, and the events that keep it live. Read-only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse};
use futures::stream;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::AppState;
use super::super::problem::Problem;
use super::Facts;
use crate::config::Link;
use crate::metrics::SelfMetrics;
use crate::state::Recorder;
use crate::state::view::View;

/// Maximum number of clients that follow the page at the same time; each costs at most one rendering per second.
pub(in crate::server) const LIVE_AT_A_TIME: usize = 32;

/// Shortest time between two events; a person reads no faster.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Longest time between two events: ages grow even if nothing changes. The page takes three times as much for a dead server.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// A client that reads nothing for this long is disconnected.
const READS_WITHIN: Duration = Duration::from_secs(30);

/// `Retry-After` for clients above the limit.
const RETRY_AFTER_FULL: Duration = Duration::from_secs(30);

/// Allows only this server's own resources, and no framing.
const POLICY: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Facts about this process that the page shows.
#[derive(Clone, Debug, Default)]
pub struct PageInfo {
    /// The cluster, as a person may know it.
    pub cluster: String,
    /// Namespace of the Remediations.
    pub namespace: String,
    /// Identity of this replica.
    pub replica: String,
    /// Links of the configuration.
    pub links: Vec<Link>,
    /// Counts of the last day.
    pub recorder: Recorder,
}

impl PageInfo {
    /// The facts of this moment.
    fn facts(&self, own: &SelfMetrics) -> Facts {
        Facts {
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            replica: self.replica.clone(),
            links: self.links.clone(),
            leads: own.is_leader(),
            last_alert: own.last_alert(),
            history: self.recorder.history(),
        }
    }
}

/// Channel for the events of one follower.
type Events = mpsc::Sender<Result<Event, axum::Error>>;

pub(in crate::server) async fn index<I>(
    State(context): State<Arc<AppState<I>>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    context.guard.authorize_get(&headers, "/").await?;
    let view = context.views.borrow().clone();
    let facts = context.page.facts(&context.own);
    let document = super::document(&view, &facts, Timestamp::now());
    Ok((POLICY, Html(document.into_string())))
}

pub(in crate::server) async fn favicon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], super::FAVICON)
}

pub(in crate::server) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css")], super::STYLE)
}

pub(in crate::server) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript")], super::SCRIPT)
}

/// An event whenever the page changes, until the client disconnects or the process ends.
pub(in crate::server) async fn events<I>(
    State(context): State<Arc<AppState<I>>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    context.guard.authorize_get(&headers, "/events").await?;
    let permit = context.followers.clone().try_acquire_owned();
    let permit = permit
        .map_err(|_| Problem::retryable("too many clients follow the page", RETRY_AFTER_FULL))?;
    if context.views.has_changed().is_err() {
        return Err(Problem::retryable(
            "the daemon no longer observes the cluster",
            RETRY_AFTER_FULL,
        ));
    }
    let follower = Follower {
        views: context.views.clone(),
        page: context.page.clone(),
        own: context.own.clone(),
        shutdown: context.shutdown.clone(),
        shown: None,
    };
    let (events, received) = mpsc::channel(1);
    // A stream is polled only while the client reads, so a separate task detects the end.
    tokio::spawn(follower.send_events(events, permit));
    Ok(Sse::new(stream::unfold(received, async |mut received| {
        let event = received.recv().await?;
        Some((event, received))
    })))
}

struct Follower {
    views: watch::Receiver<Arc<View>>,
    page: PageInfo,
    own: SelfMetrics,
    shutdown: CancellationToken,
    /// The content sent last, and when.
    shown: Option<(String, Timestamp)>,
}

impl Follower {
    /// Sends each event until the process ends, or the client disconnects or stops reading.
    async fn send_events(mut self, events: Events, _permit: OwnedSemaphorePermit) {
        let shutdown = self.shutdown.clone();
        let sending = async {
            while let Some(event) = self.next().await {
                if events.send_timeout(event, READS_WITHIN).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = sending => {}
            () = events.closed() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// The next event, or `None` when there will be no other view. If only ages changed, the event is delayed until
    /// [`AT_LEAST_EVERY`], because each event replaces the content and discards the reader's selection.
    async fn next(&mut self) -> Option<Result<Event, axum::Error>> {
        let beat = Instant::now() + AT_LEAST_EVERY;
        while let Some((shown, at)) = &self.shown {
            tokio::time::sleep(AT_MOST_EVERY).await;
            let change = tokio::time::timeout_at(beat, self.views.changed()).await;
            let Ok(change) = change else { break };
            // An error means that there will be no other view.
            change.ok()?;
            let view = self.views.borrow_and_update().clone();
            let facts = self.page.facts(&self.own);
            let news = super::content(&view, &facts, *at).into_string() != *shown;
            if news || Instant::now() >= beat {
                break;
            }
        }
        let view = self.views.borrow_and_update().clone();
        let now = Timestamp::now();
        let facts = self.page.facts(&self.own);
        let content = super::content(&view, &facts, now).into_string();
        let data = json!({
            "title": super::title(&view),
            "at": super::clock(view.at),
            "time": view.at,
            "content": content,
        });
        self.shown = Some((content, now));
        Some(Event::default().event("view").json_data(data))
    }
}
