//! Suppresses decisions that depend on the time for a few seconds after the wall clock jumps. Pure.
//!
//! The watch reports a jump, which closes gate `freshness`. Until it has, a deadline may seem to have passed.

use std::time::{Duration, Instant};

use crate::watch::Clocks;

/// The watch has reported a jump by then: it may be waiting for the API server's answer, at most ten seconds, as it happens.
const REPORTED_WITHIN: Duration = Duration::from_secs(12);

/// The last readings of the clocks.
pub struct ClockJumps {
    last: Clocks,
    jumped: Option<Instant>,
}

impl ClockJumps {
    pub fn new() -> Self {
        Self {
            last: Clocks::now(),
            jumped: None,
        }
    }

    /// Compares the clocks with the last reading, by which a jump is noticed.
    pub fn look(&mut self, clocks: Clocks) {
        if self.last.jump(clocks).is_some() {
            self.jumped = Some(clocks.monotonic);
        }
        self.last = clocks;
    }

    /// Whether the wall clock jumped a moment ago; `clocks` is the present reading.
    pub fn jumped_recently(&mut self, clocks: Clocks) -> bool {
        self.look(clocks);
        let since = self
            .jumped
            .map(|jumped| clocks.monotonic.duration_since(jumped));
        since.is_some_and(|since| since < REPORTED_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_jump_is_given_time_to_be_reported() {
        let mut jumps = ClockJumps::new();
        let begun = jumps.last;
        let mut jumped_recently = |wall: i64, monotonic: u64| {
            jumps.jumped_recently(Clocks {
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
