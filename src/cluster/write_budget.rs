//! Paces the writes that can wait, so that the API server has time for those that cannot. Pure.
//!
//! A [`WriteBudget`] is the only device that limits a rate of writes. These remain beside it, for other reasons:
//!
//! - `controller::backoff` delays one object or run whose last write was refused, and no other one: twice as long each time, with
//!   jitter, and at least for the `retryAfterSeconds` of the API server's answer.
//! - `controller::pending_writes` skips a write that the watch does not show yet: it would be a repeat.
//! - The controller has at most 16 concurrent writes, as the API server's own fairness queues more.
//! - `steps.resumeSources.batch` and `every` spread releases, so that the storage does not have to take all snapshots at
//!   once.
//! - Writes are made once, without implicit retries ([`super::writing`]), so a 429 ends in that backoff.

use std::time::{Duration, Instant};

/// Pauses after each write of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Latency that costs nothing: a quick API server is not busy.
    pub free: Duration,
    /// Multiple of the further latency to pause for.
    pub factor: u32,
    /// Shortest pause.
    pub shortest: Duration,
    /// Longest pause.
    pub longest: Duration,
}

/// Events of objects: they yield to the writes of a run when the API server is slow.
pub const EVENTS: Pace = Pace {
    free: Duration::ZERO,
    factor: 4,
    shortest: Duration::ZERO,
    longest: Duration::from_millis(250),
};

/// Progress of a step and number of held sources in a status. A status of thousands of targets is hundreds of kilobytes, so
/// that its updates may use about 3 % of the API server's time.
pub const PROGRESS: Pace = Pace {
    free: Duration::from_millis(20),
    factor: 32,
    shortest: Duration::from_secs(1),
    longest: Duration::from_secs(5),
};

/// Due time of the next write of a kind that can wait.
#[derive(Clone, Copy, Debug)]
pub struct WriteBudget {
    pace: Pace,
    due: Option<Instant>,
}

impl WriteBudget {
    /// An unused budget.
    pub const fn new(pace: Pace) -> Self {
        Self { pace, due: None }
    }

    /// A write that took `took` has ended. If it was refused, the pause lasts at least for `retry_after`.
    pub fn spend(&mut self, took: Duration, retry_after: Option<Duration>, now: Instant) {
        let Pace {
            free,
            factor,
            shortest,
            longest,
        } = self.pace;
        let pause = took.saturating_sub(free).saturating_mul(factor);
        let pause = pause.clamp(shortest, longest);
        self.due = now.checked_add(pause.max(retry_after.unwrap_or_default()));
    }

    /// Time until the next write is due; zero if it is.
    pub fn left(&self, now: Instant) -> Duration {
        let due = self.due.unwrap_or(now);
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::quick_event(EVENTS, 5, 20)]
    #[case::slow_event(EVENTS, 900, 250)]
    #[case::quick_status(PROGRESS, 20, 1_000)]
    #[case::large_status(PROGRESS, 60, 1_280)]
    #[case::slow_status(PROGRESS, 9_000, 5_000)]
    fn pause_grows_with_latency(#[case] pace: Pace, #[case] took: u64, #[case] pause: u64) {
        let (mut budget, now) = (WriteBudget::new(pace), Instant::now());
        assert_eq!(budget.left(now), Duration::ZERO);
        budget.spend(Duration::from_millis(took), None, now);
        assert_eq!(budget.left(now), Duration::from_millis(pause));
        let later = now + Duration::from_millis(pause);
        assert_eq!(budget.left(later), Duration::ZERO);
    }
    #[test]
    fn refused_write_pauses_for_the_requested_time() {
        let (mut budget, now) = (WriteBudget::new(PROGRESS), Instant::now());
        let after = Duration::from_secs(9);
        budget.spend(Duration::from_millis(20), Some(after), now);
        assert_eq!(budget.left(now), after);
    }
}
