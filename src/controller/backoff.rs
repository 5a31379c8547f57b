//! When a pass or a write that failed is repeated. Views change several times a second, and none of them is a reason to repeat
//! a refused request a moment later.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

/// After the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(250);

/// The longest without jitter: an API server that is back, or a CRD that was updated, is noticed soon.
const LONGEST: Duration = Duration::from_secs(10);

/// Objects whose last attempt failed.
#[derive(Debug)]
pub struct Backoff<K> {
    /// By key, the number of failures in a row, and the time of the next attempt.
    failed: HashMap<K, (u32, Instant)>,
    /// Source of the jitter. Differs between processes, so that the replicas of a failed API server do not return together.
    jitter: RandomState,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self {
            failed: HashMap::new(),
            jitter: RandomState::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// How long the object still waits.
    pub fn left(&self, key: &K, now: Instant) -> Option<Duration> {
        let (_, until) = self.failed.get(key)?;
        until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// An attempt failed; returns how long the object waits: twice the last pause, or `retry_after` if that is longer, and
    /// up to a fifth more.
    pub fn failed(&mut self, key: &K, now: Instant, retry_after: Option<Duration>) -> Duration {
        let (failures, until) = self.failed.entry(key.clone()).or_insert((0, now));
        let pause = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        let pause = pause.max(retry_after.unwrap_or_default());
        let percent = self.jitter.hash_one((key, *failures)) % 21;
        let wait = pause + pause * u32::try_from(percent).unwrap_or_default() / 100;
        *failures += 1;
        *until = now + wait;
        wait
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, key: &K) {
        self.failed.remove(key);
    }

    /// Forgets all but `open`: another leader, or none, begins without a wait.
    pub fn retain(&mut self, open: &[K]) {
        self.failed.retain(|key, _| open.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
                backoff.failed(&key(), now, None);
            }
            now += Duration::from_millis(4);
        }
        assert!((50..=70).contains(&passes), "{passes} passes in 10 minutes");
    }

    #[test]
    fn finished_pass_ends_the_backoff() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(&key(), now, None);
        backoff.failed(&key(), now, None);
        backoff.succeeded(&key());
        assert_eq!(backoff.left(&key(), now), None);
        let wait = backoff.failed(&key(), now, None);
        assert!(wait < 2 * FIRST, "{wait:?}");
        backoff.retain(&[]);
        assert_eq!(backoff.left(&key(), now), None);
    }

    #[test]
    fn wait_is_at_least_the_requested_time() {
        let after = |seconds| Some(Duration::from_secs(seconds));
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let wait = backoff.failed(&key(), now, after(5));
        assert!((Duration::from_secs(5)..=Duration::from_secs(6)).contains(&wait));
    }

    #[test]
    fn waits_of_many_objects_are_spread() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for retry_after in [None, Some(Duration::from_secs(5))] {
            let waits = (0..100).map(|object| backoff.failed(&object, now, retry_after));
            let waits: HashSet<Duration> = waits.collect();
            let (shortest, longest) = (waits.iter().min(), waits.iter().max());
            let spread = longest.unwrap().saturating_sub(*shortest.unwrap());
            let pause = retry_after.unwrap_or(FIRST);
            assert!(spread > pause / 10, "{waits:?}");
            assert!(spread <= pause / 5, "{waits:?}");
            backoff.retain(&[]);
        }
    }
}
