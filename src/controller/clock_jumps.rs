//! Keeps what goes by the time from being judged just after the clock has leapt. Pure.
//!
//! The watch tells of a leap, and the gate `freshness` closes by that; until it has, a deadline may seem to be over.

use std::time::{Duration, Instant};

use crate::watch::Clocks;

/// The watch has told of a leap by then: it may be waiting for the API server's answer, ten seconds at most, when it happens.
const TOLD_WITHIN: Duration = Duration::from_secs(12);

/// The clocks from look to look.
pub struct ClockJumps {
    last: Clocks,
    leapt: Option<Instant>,
}

impl ClockJumps {
    pub fn new() -> Self {
        Self {
            last: Clocks::now(),
            leapt: None,
        }
    }

    /// Looks at the clocks, as a leap is told from one look to the next.
    pub fn look(&mut self, clocks: Clocks) {
        if self.last.leap(clocks).is_some() {
            self.leapt = Some(clocks.monotonic);
        }
        self.last = clocks;
    }

    /// Whether the wall clock has leapt lately, `clocks` being those now.
    pub fn jumped_recently(&mut self, clocks: Clocks) -> bool {
        self.look(clocks);
        let since = self
            .leapt
            .map(|leapt| clocks.monotonic.duration_since(leapt));
        since.is_some_and(|since| since < TOLD_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_leap_is_given_time_to_be_told_of() {
        let mut leaps = ClockJumps::new();
        let begun = leaps.last;
        let mut jumped_recently = |wall: i64, monotonic: u64| {
            leaps.jumped_recently(Clocks {
                wall: begun.wall + SignedDuration::from_secs(wall),
                monotonic: begun.monotonic + Duration::from_secs(monotonic),
            })
        };
        assert!(!jumped_recently(0, 0));
        assert!(!jumped_recently(60, 60));
        assert!(jumped_recently(3_661, 61));
        assert!(jumped_recently(3_672, 72));
        assert!(!jumped_recently(3_673, 73));
        assert!(jumped_recently(80, 80), "and back");
    }
}
