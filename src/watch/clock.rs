//! Compares this machine's clock with the API server's, on which every age, deadline and cooldown depends.
//!
//! The server's time is the `Date` header of an answer. Between requests, the wall clock is compared with the monotonic
//! clock, so that a jump is noticed at once.

use std::time::{Duration, Instant};

use axum::http::Request;
use axum::http::header::DATE;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;

use super::Changes;
use crate::metrics::SelfMetrics;
use crate::model::{CLOCK_TOLERANCE, Change, Kind, WatchState};
use crate::text::{error_chain, humanize};

/// Time between two requests.
const INTERVAL: Duration = Duration::from_secs(30);

/// Time until the next request after one failed, or after a jump.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Time between two comparisons of the wall clock with the monotonic one.
const JUMP_INTERVAL: Duration = Duration::from_millis(500);

/// Timeout of one request. Half of the answer time is the error of the measurement.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Compares clocks until the model's task ends.
pub async fn compare(client: Client, changes: Changes, own: SelfMetrics) {
    loop {
        let reading = match tokio::time::timeout(TIMEOUT, ahead(&client)).await {
            Ok(Ok(Some(ahead))) => agrees(ahead),
            // The API server of this crate, called without HTTP, runs in this process.
            Ok(Ok(None)) => WatchState::NotServed,
            Ok(Err(error)) => WatchState::Failing(error_chain(&error)),
            Err(_) => WatchState::Failing("no answer".to_owned()),
        };
        let pause = if matches!(reading, WatchState::Failing(_)) {
            own.watch_failed(Kind::Clock);
            RETRY_AFTER
        } else {
            INTERVAL
        };
        if tell(&changes, reading).await.is_err() {
            return;
        }
        if let Some(by) = jump(pause).await {
            tracing::warn!(%by, "the clock jumped");
            let reading = WatchState::Failing(format!("jumped by {by:#}"));
            if tell(&changes, reading).await.is_err() {
                return;
            }
        }
    }
}

async fn tell(changes: &Changes, reading: WatchState) -> Result<(), ()> {
    let change = Change::Read(Kind::Clock, reading, Timestamp::now());
    changes.send(change).await.map_err(drop)
}

/// Time by which this clock is ahead of the API server's; `None` if the answer has no date.
async fn ahead(client: &Client) -> Result<Option<SignedDuration>, kube::Error> {
    let request = Request::get("/version")
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let asked = Instant::now();
    // The status does not matter: an error response has a date, too.
    let answer = client.send(request).await?;
    let date = answer.headers().get(DATE);
    let theirs = date.and_then(|date| DateTimeParser::new().parse_timestamp(date.as_bytes()).ok());
    let underway = SignedDuration::try_from(asked.elapsed() / 2).unwrap_or_default();
    Ok(theirs.map(|theirs| (Timestamp::now() - underway).duration_since(theirs)))
}

/// State of the clock, given its difference from the API server's.
fn agrees(ahead: SignedDuration) -> WatchState {
    if ahead.abs() <= CLOCK_TOLERANCE {
        return WatchState::Synced;
    }
    let by = humanize::duration(ahead.unsigned_abs());
    let way = if ahead.is_positive() {
        "ahead of"
    } else {
        "behind"
    };
    WatchState::Failing(format!("{by} {way} the API server's"))
}

/// Waits for `pause`, or until the wall clock jumps; returns the length of the jump.
async fn jump(pause: Duration) -> Option<SignedDuration> {
    let (clocks, begun) = (Clocks::now(), Instant::now());
    while begun.elapsed() < pause {
        tokio::time::sleep(JUMP_INTERVAL).await;
        if let Some(by) = clocks.jump(Clocks::now()) {
            return Some(by);
        }
    }
    None
}

/// The wall clock and the monotonic clock, read at the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock.
    pub monotonic: Instant,
}

impl Clocks {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            monotonic: Instant::now(),
        }
    }

    /// By how much the wall clock advanced more than the monotonic clock until `later`, if that is more than tolerated.
    pub fn jump(self, later: Self) -> Option<SignedDuration> {
        let passed = later.monotonic.duration_since(self.monotonic);
        let passed = SignedDuration::try_from(passed).unwrap_or_default();
        let by = later.wall.duration_since(self.wall) - passed;
        (by.abs() > CLOCK_TOLERANCE).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::as_it_should(60, None)]
    #[case::a_little_fast(90, None)]
    #[case::ahead(3_660, Some(3_600))]
    #[case::back(-3_540, Some(-3_600))]
    fn wall_clock_jump_is_measured(#[case] wall: i64, #[case] by: Option<i64>) {
        let begun = Clocks::now();
        let later = Clocks {
            wall: begun.wall + SignedDuration::from_secs(wall),
            monotonic: begun.monotonic + Duration::from_mins(1),
        };
        assert_eq!(begun.jump(later), by.map(SignedDuration::from_secs));
    }

    #[rstest]
    #[case(0, None)]
    #[case(29, None)]
    #[case(-30, None)]
    #[case(3600, Some("60m ahead of the API server's"))]
    #[case(-5400, Some("90m behind the API server's"))]
    fn small_clock_difference_is_tolerated(#[case] seconds: i64, #[case] why: Option<&str>) {
        let expected = why.map_or(WatchState::Synced, |why| {
            WatchState::Failing(why.to_owned())
        });
        assert_eq!(agrees(SignedDuration::from_secs(seconds)), expected);
    }
}
