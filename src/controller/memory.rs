//! What is remembered between two passes, and may be forgotten.

use std::time::{Duration, Instant};

use super::recent::Recent;
use super::{ECHO, RETRY};
use crate::api::remediation::{Remediation, RemediationStatus};

/// A run is read, or its status written, in so much time at most, unless it is about thousands of objects: then that is
/// hundreds of kilobytes, and its writes want the same API server.
const CHEAP: Duration = Duration::from_millis(20);

/// What took longer than that is rested from so many times over.
const REST: u32 = 8;

/// The status of a run that is at work says so often at least how much is still held.
const COUNT: Duration = Duration::from_secs(5);

/// Namespace and name of a run.
pub type Key = (String, String);

/// Of the runs that are driven.
pub struct Memory {
    /// What a run just wrote to, and is not seen yet.
    recent: (Option<Key>, Recent),
    /// The run that was last read or written, and its version then.
    ahead: Option<(Key, Option<u64>)>,
    /// What looks of this pass took that found nothing to do.
    looks: Duration,
    /// The run whose status was last written, when, and how long that took.
    recorded: Option<(Key, Instant, Duration)>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            recent: (None, Recent::new(ECHO)),
            ahead: None,
            looks: Duration::ZERO,
            recorded: None,
        }
    }

    /// What the run just wrote to. Another one has its own reasons to write to the same objects.
    pub fn recent(&mut self, key: &Key) -> &mut Recent {
        let (of, recent) = &mut self.recent;
        if of.as_ref() != Some(key) {
            (*of, *recent) = (Some(key.clone()), Recent::new(ECHO));
        }
        recent
    }

    /// The run was read or written.
    pub fn met(&mut self, key: &Key, run: &Remediation) {
        self.ahead = Some((key.clone(), version(run)));
    }

    /// The run that was last read or written, unless it is `key`.
    pub fn other_than(&self, key: &Key) -> Option<&Key> {
        let (run, _) = self.ahead.as_ref()?;
        (run != key).then_some(run)
    }

    /// Whether the run that was last read or written was then newer than `shown`.
    ///
    /// Since Kubernetes 1.35 versions of one kind may be compared (KEP-5504); before, they could be as well.
    pub fn is_newer_than(&self, shown: &Remediation) -> bool {
        let ahead = self.ahead.as_ref();
        ahead.is_some_and(|(_, met)| *met > version(shown))
    }

    /// A look since then found nothing to do.
    pub fn looked(&mut self, since: Instant) {
        self.looks += since.elapsed();
    }

    /// Before the next pass.
    pub fn rest(&mut self) -> Duration {
        rest(std::mem::take(&mut self.looks), RETRY)
    }

    /// The status was written, by a request that began then.
    pub fn recorded(&mut self, key: &Key, begun: Instant) {
        self.recorded = Some((key.clone(), begun, begun.elapsed()));
    }

    /// How long it is not worth a write yet that less is held than the status `known` says, where `next` says no more.
    pub fn count_later(
        &self,
        key: &Key,
        known: Option<&RemediationStatus>,
        next: &RemediationStatus,
    ) -> Option<Duration> {
        let (_, begun, took) = self.recorded.as_ref().filter(|(run, ..)| run == key)?;
        let left = rest(*took, COUNT).saturating_sub(begun.elapsed());
        let counts = || known.is_some_and(|known| next.only_counts_on_from(known));
        (!left.is_zero() && counts()).then_some(left)
    }
}

fn version(run: &Remediation) -> Option<u64> {
    run.metadata.resource_version.as_ref()?.parse().ok()
}

/// How long to leave the API server to others after what took so long.
fn rest(took: Duration, most: Duration) -> Duration {
    (took.saturating_sub(CHEAP) * REST).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::remediation::HoldRecord;
    use crate::model::ObjectKind;
    use crate::model::fixture::{at, source};

    #[test]
    fn what_is_cheap_is_followed_by_no_rest_and_no_rest_has_no_end() {
        let of = |millis| rest(Duration::from_millis(millis), RETRY).as_millis();
        assert_eq!([0, 20, 30, 100, 5_000].map(of), [0, 0, 80, 640, 1_000]);
    }

    #[test]
    fn what_one_run_wrote_to_is_news_to_another() {
        let mut memory = Memory::new();
        let [first, second] = ["first", "second"].map(|name| (String::new(), name.to_owned()));
        let object = source("media", "sonarr")
            .meta
            .key(ObjectKind::ReplicationSource);
        memory.recent(&first).note(object.clone());
        assert!(!memory.recent(&first).is_news(&object));
        assert!(memory.recent(&second).is_news(&object));
    }

    fn held(names: &[&str]) -> RemediationStatus {
        let hold = |name: &&str| HoldRecord {
            object: source("media", name)
                .meta
                .key(ObjectKind::ReplicationSource),
            until: at(60),
            waits: "its turn".to_owned(),
        };
        RemediationStatus {
            holds: names.iter().map(hold).collect(),
            ..RemediationStatus::default()
        }
    }

    #[test]
    fn after_a_dear_write_only_that_less_is_held_can_wait() {
        let key = |name: &str| ("locksmith".to_owned(), name.to_owned());
        let ago = |millis| {
            Instant::now()
                .checked_sub(Duration::from_millis(millis))
                .unwrap()
        };
        let after = |millis| {
            let mut memory = Memory::new();
            memory.recorded(&key("run"), ago(millis));
            memory
        };
        let known = held(&["lidarr", "prowlarr", "sonarr"]);
        let fewer = held(&["sonarr"]);
        let none = held(&[]);
        let further = RemediationStatus {
            message: "restartProvisioner under way".to_owned(),
            ..fewer.clone()
        };
        let waits = |memory: &Memory, run: &str, next: &RemediationStatus| {
            memory.count_later(&key(run), Some(&known), next).is_some()
        };
        let dear = after(300);
        assert!(waits(&dear, "run", &fewer));
        assert!(
            !waits(&dear, "run", &none),
            "that nothing is held is told at once"
        );
        assert!(
            !waits(&dear, "run", &further),
            "so is what else there is to tell"
        );
        assert!(!waits(&dear, "another", &fewer));
        assert!(
            !waits(&after(5), "run", &fewer),
            "a cheap write costs nothing"
        );
        assert!(!waits(&Memory::new(), "run", &fewer));
    }
}
