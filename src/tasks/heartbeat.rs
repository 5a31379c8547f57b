//! Loops that run for the life of the process. If one hangs, the liveness probe fails, so that the kubelet restarts a
//! daemon that would otherwise seem healthy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time after which a loop counts as hanging. Each call is limited to 15 s, and a pass of many calls beats between them; a
/// long list from a slow API server takes the longest.
pub const SILENT_AFTER: Duration = Duration::from_secs(300);

/// The loops of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<Vec<Heartbeat>>>);

/// One loop; clones share its beats.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    name: &'static str,
    last: Arc<Mutex<Instant>>,
}

impl Heartbeats {
    /// Adds a loop, which must beat from now on.
    pub fn add(&self, name: &'static str) -> Heartbeat {
        let last = Arc::new(Mutex::new(Instant::now()));
        let heartbeat = Heartbeat { name, last };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(heartbeat.clone());
        heartbeat
    }

    /// The loop that has been silent longest, and for how long, if that exceeds [`SILENT_AFTER`].
    pub fn silent(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = all.iter().map(|it| (it.name, it.silent_for(now)));
        let longest = silent.max_by_key(|(_, silent)| *silent);
        longest.filter(|(_, silent)| *silent > SILENT_AFTER)
    }
}

impl Heartbeat {
    /// Records that the loop makes progress.
    pub fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self, now: Instant) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn longest_silence_is_found() {
        let all = Heartbeats::default();
        assert_eq!(all.silent(Instant::now()), None, "no loop is no silence");
        let (model, controller) = (all.add("model"), all.add("controller"));
        tokio::time::advance(SILENT_AFTER).await;
        assert_eq!(all.silent(Instant::now()), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        controller.beat();
        let silence = SILENT_AFTER + Duration::from_secs(1);
        assert_eq!(all.silent(Instant::now()), Some(("model", silence)));
        model.beat();
        assert_eq!(all.silent(Instant::now()), None);
    }
}
