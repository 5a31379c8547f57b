//! When a run whose pass failed is driven again. Views change several times a second, and none of them is a reason to repeat
//! what was refused a moment ago.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::memory::Key;

/// After the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(250);

/// The longest: an API server that is back, or a CRD that was updated, is noticed within it.
const LONGEST: Duration = Duration::from_secs(10);

/// Runs whose last pass failed.
#[derive(Debug, Default)]
pub struct Backoff(HashMap<Key, (u32, Instant)>);

impl Backoff {
    /// How long the run still waits.
    pub fn left(&self, run: &Key, now: Instant) -> Option<Duration> {
        let (_, until) = self.0.get(run)?;
        until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// A pass failed; returns how long the run waits.
    pub fn failed(&mut self, run: &Key, now: Instant) -> Duration {
        let (failures, until) = self.0.entry(run.clone()).or_insert((0, now));
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures += 1;
        *until = now + wait;
        wait
    }

    /// A pass was finished.
    pub fn succeeded(&mut self, run: &Key) {
        self.0.remove(run);
    }

    /// Forgets all runs but `open`: another leader, or none, begins without a wait.
    pub fn retain(&mut self, open: &[Key]) {
        self.0.retain(|run, _| open.contains(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("locksmith".to_owned(), "run".to_owned())
    }

    /// A status that an older CRD prunes was recorded again with every view: 250 writes a second.
    #[test]
    fn failing_run_is_driven_ever_less_often() {
        let (mut backoff, begun) = (Backoff::default(), Instant::now());
        let mut now = begun;
        let mut passes = 0;
        while now.duration_since(begun) < Duration::from_mins(10) {
            if backoff.left(&key(), now).is_none() {
                passes += 1;
                backoff.failed(&key(), now);
            }
            now += Duration::from_millis(4);
        }
        assert!((60..=70).contains(&passes), "{passes} passes in 10 minutes");
    }

    #[test]
    fn finished_pass_ends_the_backoff() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(&key(), now);
        backoff.failed(&key(), now);
        backoff.succeeded(&key());
        assert_eq!(backoff.left(&key(), now), None);
        assert_eq!(backoff.failed(&key(), now), FIRST);
        backoff.retain(&[]);
        assert_eq!(backoff.left(&key(), now), None);
    }
}
