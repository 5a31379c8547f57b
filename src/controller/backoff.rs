//! When a pass or a write that failed is repeated. Views change several times a second, and none of them is a reason to repeat
//! a refused request a moment later.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// After the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(250);

/// The longest: an API server that is back, or a CRD that was updated, is noticed within it.
const LONGEST: Duration = Duration::from_secs(10);

/// Objects whose last attempt failed, by their keys: how often in a row, and until when they wait.
#[derive(Debug)]
pub struct Backoff<K>(HashMap<K, (u32, Instant)>);

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// How long the object still waits.
    pub fn left(&self, key: &K, now: Instant) -> Option<Duration> {
        let (_, until) = self.0.get(key)?;
        until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// An attempt failed; returns how long the object waits.
    pub fn failed(&mut self, key: &K, now: Instant) -> Duration {
        let (failures, until) = self.0.entry(key.clone()).or_insert((0, now));
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures += 1;
        *until = now + wait;
        wait
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Forgets all but `open`: another leader, or none, begins without a wait.
    pub fn retain(&mut self, open: &[K]) {
        self.0.retain(|key, _| open.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> &'static str {
        "run"
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
