//! What is remembered between two passes, and may be forgotten.

use std::time::{Duration, Instant};

use super::ECHO;
use super::recent::Recent;
use crate::api::remediation::{Remediation, RemediationStatus};
use crate::model::ObjectKey;

/// To write a run's status takes longer than this where it is about thousands of objects, and then that is hundreds of
/// kilobytes; or where the API server is slow. Either way it is not to be asked for more than is needed.
const CHEAP: Duration = Duration::from_millis(20);

/// What is beyond that is rested from so many times over, so that counting costs the API server some three in a hundred.
const REST: u32 = 32;

/// A status says so often at least how much less is held.
const COUNT: Duration = Duration::from_secs(5);

/// Namespace and name of a run.
pub type Key = (String, String);

/// Of the runs that are driven.
pub struct Memory {
    /// What a run just wrote to, and is not seen yet.
    recent: (Option<Key>, Recent),
    /// The run that was last read or written, its version then, and when that was.
    ahead: Option<(Key, Option<u64>, Instant)>,
    /// The run whose status was last written, when that was done, and how long it took.
    recorded: Option<(Key, Instant, Duration)>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            recent: (None, Recent::new(ECHO)),
            ahead: None,
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

    /// Whether that run has not written to the object lately.
    pub fn is_news(&self, key: &Key, object: &ObjectKey) -> bool {
        let (of, recent) = &self.recent;
        of.as_ref() != Some(key) || recent.is_news(object)
    }

    /// The run was read or written.
    pub fn met(&mut self, key: &Key, run: &Remediation, now: Instant) {
        self.ahead = Some((key.clone(), version(run), now));
    }

    /// The run that was last read or written, unless it is `key`.
    pub fn other_than(&self, key: &Key) -> Option<&Key> {
        let (run, ..) = self.ahead.as_ref()?;
        (run != key).then_some(run)
    }

    /// Whether the run that was last read or written was then newer than `shown`.
    ///
    /// Since Kubernetes 1.35 versions of one kind may be compared (KEP-5504); before, they could be as well.
    pub fn is_newer_than(&self, shown: &Remediation) -> bool {
        let ahead = self.ahead.as_ref();
        ahead.is_some_and(|(_, met, _)| *met > version(shown))
    }

    /// Whether that run is `key`, was then newer than `shown`, and the watch may still be about to show it.
    pub fn awaits_echo(&self, key: &Key, shown: &Remediation, now: Instant) -> bool {
        let lately =
            |(run, _, at): &(Key, _, Instant)| run == key && now.duration_since(*at) < ECHO;
        self.ahead.as_ref().is_some_and(lately) && self.is_newer_than(shown)
    }

    /// The status was written within so long, by now.
    pub fn recorded(&mut self, key: &Key, took: Duration, now: Instant) {
        self.recorded = Some((key.clone(), now, took));
    }

    /// How long it is not worth a write yet that less is held than the status `known` says, where `next` says no more.
    pub fn count_later(
        &self,
        key: &Key,
        known: Option<&RemediationStatus>,
        next: &RemediationStatus,
        now: Instant,
    ) -> Option<Duration> {
        let (_, at, took) = self.recorded.as_ref().filter(|(run, ..)| run == key)?;
        let left = rest(*took).min(COUNT);
        let left = left.saturating_sub(now.duration_since(*at));
        let counts = || known.is_some_and(|known| next.only_counts_down_from(known));
        (!left.is_zero() && counts()).then_some(left)
    }
}

/// How long to leave the API server to others after what took so long.
fn rest(took: Duration) -> Duration {
    took.saturating_sub(CHEAP) * REST
}

fn version(run: &Remediation) -> Option<u64> {
    run.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::remediation::HoldRecord;
    use crate::model::ObjectKind;
    use crate::model::fixture::{at, run, source};

    #[test]
    fn what_one_run_wrote_to_is_news_to_another() {
        let mut memory = Memory::new();
        let [first, second] = ["first", "second"].map(|name| (String::new(), name.to_owned()));
        let object = source("media", "sonarr")
            .meta
            .key(ObjectKind::ReplicationSource);
        memory.recent(&first).note(object.clone());
        assert!(!memory.is_news(&first, &object));
        assert!(memory.is_news(&second, &object));
        assert!(memory.recent(&second).is_news(&object));
    }

    #[test]
    fn an_echo_is_awaited_of_the_run_that_was_met_and_not_for_long() {
        let of_version = |version: &str| {
            let mut run = run("run");
            run.metadata.resource_version = Some(version.to_owned());
            run
        };
        let [first, second] = ["first", "second"].map(|name| (String::new(), name.to_owned()));
        let written = Instant::now();
        let mut memory = Memory::new();
        memory.met(&first, &of_version("10"), written);
        let awaits =
            |key, shown: &str, after| memory.awaits_echo(key, &of_version(shown), written + after);
        assert!(awaits(&first, "9", Duration::ZERO));
        assert!(!awaits(&first, "10", Duration::ZERO));
        assert!(!awaits(&first, "9", ECHO));
        assert!(!awaits(&second, "9", Duration::ZERO));
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
            held: names.len().try_into().unwrap(),
            ..RemediationStatus::default()
        }
    }

    #[test]
    fn after_a_dear_write_only_that_less_is_held_can_wait_and_not_for_long() {
        let key = |name: &str| ("locksmith".to_owned(), name.to_owned());
        let written = Instant::now();
        let after = |took| {
            let mut memory = Memory::new();
            memory.recorded(&key("run"), Duration::from_millis(took), written);
            memory
        };
        let known = held(&["lidarr", "prowlarr", "sonarr"]);
        let fewer = held(&["sonarr"]);
        let further = RemediationStatus {
            message: "restartProvisioner under way".to_owned(),
            ..fewer.clone()
        };
        let waits = |memory: &Memory, run: &str, next: &RemediationStatus, millis| {
            let now = written + Duration::from_millis(millis);
            memory.count_later(&key(run), Some(&known), next, now)
        };
        let dear = after(60);
        let left = |millis| waits(&dear, "run", &fewer, millis);
        assert_eq!(left(500), Some(Duration::from_millis(780)));
        assert_eq!(left(1_280), None);
        assert_eq!(waits(&after(9_000), "run", &fewer, 5_000), None);
        let at_once = [
            (&dear, "run", held(&[])),
            (
                &dear,
                "run",
                held(&["bazarr", "lidarr", "prowlarr", "sonarr"]),
            ),
            (&dear, "run", further),
            (&dear, "another", fewer.clone()),
            (&after(20), "run", fewer.clone()),
            (&Memory::new(), "run", fewer.clone()),
        ];
        for (memory, run, next) in at_once {
            assert_eq!(waits(memory, run, &next, 0), None, "{next:?}");
        }
    }
}
