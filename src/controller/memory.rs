//! State of the controller between two passes. Losing it costs reads, and nothing else.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::pending_writes::PendingWrites;
use super::{RETRY, WATCH_LAG};
use crate::api::ObjectKey;
use crate::api::remediation::{Remediation, RemediationStatus};
use crate::cluster::write_budget::{PROGRESS, WriteBudget};
use crate::steps::{Intent, NextAction};

/// Namespace and name of a run.
pub type Key = (String, String);

/// The state of the runs that are driven.
pub struct Memory {
    /// Objects that each run just wrote, and that the watch has not shown yet.
    recent: HashMap<Key, PendingWrites>,
    /// The run that was last read or written, its version then, and when that was.
    ahead: Option<(Key, Option<u64>, Instant)>,
    /// The run whose status was last written, and what is left of its budget.
    recorded: Option<(Key, WriteBudget)>,
    /// The run whose live state was last read, its version then, and until when that is not repeated.
    examined: Option<(Key, Option<u64>, Timestamp)>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            recent: HashMap::new(),
            ahead: None,
            recorded: None,
            examined: None,
        }
    }

    /// The pending writes of a run. Another run has its own reasons to write to the same objects.
    pub fn recent(&mut self, key: &Key) -> &mut PendingWrites {
        let recent = self.recent.entry(key.clone());
        recent.or_insert_with(|| PendingWrites::new(WATCH_LAG))
    }

    /// Forgets the pending writes of runs other than `open`.
    pub fn retain(&mut self, open: &[Key]) {
        self.recent.retain(|key, _| open.contains(key));
    }

    /// Whether the run has no pending write to the object.
    pub fn may_write(&self, key: &Key, object: &ObjectKey) -> bool {
        let recent = self.recent.get(key);
        recent.is_none_or(|recent| recent.may_write(object))
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

    /// The run was examined, and waits; to examine it once more costs lists and logs.
    pub fn examined(&mut self, key: &Key, run: &Remediation, until: Option<Timestamp>) {
        self.examined = until.map(|until| (key.clone(), version(run), until));
    }

    /// Breaks, until when at the latest, where `next` of a run, as the watch shows it, is nothing that has to be done now. Not
    /// asked for what is next is a run that the watch shows in an older version than it is known in.
    pub fn nothing_to_do(
        &self,
        key: &Key,
        shown: &Remediation,
        next: impl FnOnce() -> NextAction,
        now: Timestamp,
        at: Instant,
    ) -> ControlFlow<Option<Timestamp>> {
        let after = |pause: Duration| ControlFlow::Break(now.checked_add(pause).ok());
        if self.is_newer_than(shown)
            && let Some((_, _, met)) = self.ahead.as_ref().filter(|(run, ..)| run == key)
        {
            // The watch is about to show it; or it lags, and nothing it shows of the run is to be gone by.
            return if at.duration_since(*met) < WATCH_LAG {
                after(RETRY)
            } else {
                ControlFlow::Continue(())
            };
        }
        match next() {
            NextAction::Wait(until) => ControlFlow::Break(until),
            NextAction::Record(status) => {
                match self.postponed(key, shown.status.as_ref(), &status, at) {
                    Some(left) => after(left),
                    None => ControlFlow::Continue(()),
                }
            }
            NextAction::Act(intents) => {
                let mut objects = intents.iter().map(Intent::object);
                if objects.any(|object| self.may_write(key, object)) {
                    ControlFlow::Continue(())
                } else {
                    after(RETRY)
                }
            }
            NextAction::ReadLive { .. } | NextAction::Prove(_) => {
                let lately = self.examined.as_ref().filter(|(run, examined, until)| {
                    (run, *examined) == (key, version(shown)) && now < *until
                });
                lately.map_or(ControlFlow::Continue(()), |(_, _, until)| {
                    ControlFlow::Break(Some(*until))
                })
            }
            NextAction::CollectEvidence(_) => ControlFlow::Continue(()),
        }
    }

    /// The status was written, which took so long.
    pub fn recorded(&mut self, key: &Key, took: Duration, now: Instant) {
        let mut budget = WriteBudget::new(PROGRESS);
        budget.spend(took, now);
        self.recorded = Some((key.clone(), budget));
    }

    /// How long an update of progress and held count is postponed, if `next` differs from `known` in nothing else.
    pub fn postponed(
        &self,
        key: &Key,
        known: Option<&RemediationStatus>,
        next: &RemediationStatus,
        now: Instant,
    ) -> Option<Duration> {
        let (_, budget) = self.recorded.as_ref().filter(|(run, _)| run == key)?;
        let left = budget.left(now);
        let counts = || known.is_some_and(|known| next.only_progresses_from(known));
        (!left.is_zero() && counts()).then_some(left)
    }
}

fn version(run: &Remediation) -> Option<u64> {
    run.metadata.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ObjectKind;
    use crate::api::remediation::HoldRecord;
    use crate::model::fixture::{at, run, source};

    #[test]
    fn what_one_run_wrote_to_is_news_to_another() {
        let mut memory = Memory::new();
        let [first, second] = ["first", "second"].map(|name| (String::new(), name.to_owned()));
        let object = key_of("sonarr");
        memory.recent(&first).note(object.clone());
        assert!(!memory.may_write(&first, &object));
        assert!(memory.may_write(&second, &object));
        assert!(memory.recent(&second).may_write(&object));
    }

    /// What came of a run in version 10 is asked for so long after it was met in `met`.
    fn of_version_ten(
        memory: &mut Memory,
        met: Option<u64>,
        next: &NextAction,
        millis: u64,
    ) -> bool {
        let key = (String::new(), "run".to_owned());
        let (begun, after) = (Instant::now(), Duration::from_millis(millis));
        if let Some(met) = met {
            memory.met(&key, &of_version(met), begun);
        }
        let (shown, now, at) = (of_version(10), at(0) + after, begun + after);
        let asked = memory.nothing_to_do(&key, &shown, || next.clone(), now, at);
        asked.is_break()
    }

    fn of_version(version: u64) -> Remediation {
        let mut run = run("run");
        run.metadata.resource_version = Some(version.to_string());
        run
    }

    #[test]
    fn what_the_watch_shows_is_gone_by_until_it_is_known_to_lag() {
        let waits =
            |met, millis| of_version_ten(&mut Memory::new(), met, &NextAction::Wait(None), millis);
        let acts = |met, millis| {
            let act = NextAction::Act(vec![Intent::Delete(key_of("sonarr"))]);
            of_version_ten(&mut Memory::new(), met, &act, millis)
        };
        assert!(waits(None, 0) && waits(Some(10), 0) && waits(Some(10), 60_000));
        assert!(!acts(None, 0) && !acts(Some(10), 0));
        // Its echo is awaited, for three seconds; then it is read, whatever is shown.
        assert!(waits(Some(11), 2_999) && acts(Some(11), 2_999));
        assert!(!waits(Some(11), 3_000) && !acts(Some(11), 3_000));
    }

    #[test]
    fn only_what_was_written_a_moment_ago_is_not_done() {
        let key = (String::new(), "run".to_owned());
        let act = |names: &[&str]| {
            let mut memory = Memory::new();
            memory.recent(&key).note(key_of("sonarr"));
            let intents = names.iter().map(|name| Intent::Delete(key_of(name)));
            of_version_ten(&mut memory, None, &NextAction::Act(intents.collect()), 0)
        };
        assert!(act(&["sonarr"]));
        assert!(!act(&["sonarr", "lidarr"]));
        assert!(!of_version_ten(
            &mut Memory::new(),
            None,
            &NextAction::CollectEvidence(Vec::new()),
            0
        ));
    }

    #[test]
    fn what_was_examined_is_examined_again_when_it_is_time_or_the_run_has_changed() {
        let after = |version: u64, name: &str, millis| {
            let mut memory = Memory::new();
            let until = at(0) + Duration::from_secs(2);
            let key = (String::new(), name.to_owned());
            memory.examined(&key, &of_version(version), Some(until));
            of_version_ten(
                &mut memory,
                None,
                &NextAction::ReadLive { logs: true },
                millis,
            )
        };
        assert!(after(10, "run", 1_999));
        assert!(!after(10, "run", 2_000));
        assert!(!after(9, "run", 0));
        assert!(!after(10, "another", 0));
    }

    fn key_of(name: &str) -> ObjectKey {
        source("media", name)
            .meta
            .key(ObjectKind::ReplicationSource)
    }

    fn held(names: &[&str]) -> RemediationStatus {
        let hold = |name: &&str| HoldRecord {
            object: key_of(name),
            until: at(60),
            waiting_for: "its turn".to_owned(),
        };
        RemediationStatus {
            holds: names.iter().map(hold).collect(),
            held: names.len().try_into().unwrap(),
            ..RemediationStatus::default()
        }
    }

    #[test]
    fn status_with_progress_alone_waits_for_its_budget() {
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
            memory.postponed(&key(run), Some(&known), next, now)
        };
        let dear = after(60);
        let left = |millis| waits(&dear, "run", &fewer, millis);
        assert_eq!(left(500), Some(Duration::from_millis(780)));
        assert_eq!(left(1_280), None);
        assert_eq!(
            waits(&after(20), "run", &fewer, 0),
            Some(Duration::from_secs(1))
        );
        assert_eq!(waits(&after(9_000), "run", &fewer, 5_000), None);
        let progress = RemediationStatus {
            progress: Some("1/3".to_owned()),
            ..known.clone()
        };
        assert_eq!(
            waits(&after(20), "run", &progress, 400),
            Some(Duration::from_millis(600))
        );
        let at_once = [
            (&dear, "run", held(&[])),
            (
                &dear,
                "run",
                held(&["bazarr", "lidarr", "prowlarr", "sonarr"]),
            ),
            (&dear, "run", further),
            (&dear, "another", fewer.clone()),
            (&Memory::new(), "run", fewer.clone()),
        ];
        for (memory, run, next) in at_once {
            assert_eq!(waits(memory, run, &next, 0), None, "{next:?}");
        }
    }
}
