//! Keeps what goes by the time from being judged just after the clock has leapt. Pure.
//!
//! The watch tells of a leap, and the gate `freshness` closes by that; until it has, a deadline may seem to be over.

use std::time::{Duration, Instant};

use crate::watch::Clocks;

/// The watch has told of a leap by then: it may be waiting for the API server's answer, ten seconds at most, when it happens.
const TOLD_WITHIN: Duration = Duration::from_secs(12);

/// The clocks from look to look.
pub struct Leaps {
    last: Clocks,
    leapt: Option<Instant>,
}

impl Leaps {
    pub fn new() -> Self {
        Self {
            last: Clocks::now(),
            leapt: None,
        }
    }

    /// Looks at the clocks, as a leap is told from one look to the next.
    pub fn look(&mut self, clocks: Clocks) {
        if self.last.leap(clocks).is_some() {
            self.leapt = Some(clocks.steady);
        }
        self.last = clocks;
    }

    /// Whether the wall clock has leapt lately, `clocks` being those now.
    pub fn lately(&mut self, clocks: Clocks) -> bool {
        self.look(clocks);
        let since = self.leapt.map(|leapt| clocks.steady.duration_since(leapt));
        since.is_some_and(|since| since < TOLD_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_leap_is_given_time_to_be_told_of() {
        let mut leaps = Leaps::new();
        let begun = leaps.last;
        let mut lately = |wall: i64, steady: u64| {
            leaps.lately(Clocks {
                wall: begun.wall + SignedDuration::from_secs(wall),
                steady: begun.steady + Duration::from_secs(steady),
            })
        };
        assert!(!lately(0, 0));
        assert!(!lately(60, 60));
        assert!(lately(3_661, 61));
        assert!(lately(3_672, 72));
        assert!(!lately(3_673, 73));
        assert!(lately(80, 80), "and back");
    }
}
