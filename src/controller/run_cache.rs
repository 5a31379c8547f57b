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
pub struct RunCache {
    /// Objects that each run just wrote, and that the watch has not shown yet.
    pending: HashMap<Key, PendingWrites>,
    /// The run that was last read or written, its version then, and when that was.
    last_seen: Option<(Key, Option<u64>, Instant)>,
    /// Write budget of the status of each run.
    budgets: HashMap<Key, WriteBudget>,
    /// The run whose live state was last read, its version then, and until when that is not repeated.
    live_read: Option<(Key, Option<u64>, Timestamp)>,
}

impl RunCache {
    pub fn new() -> Self {
        Self {
            pending: HashMap::new(),
            last_seen: None,
            budgets: HashMap::new(),
            live_read: None,
        }
    }

    /// The pending writes of a run. Another run has its own reasons to write to the same objects.
    pub fn pending(&mut self, key: &Key) -> &mut PendingWrites {
        let pending = self.pending.entry(key.clone());
        pending.or_insert_with(|| PendingWrites::new(WATCH_LAG))
    }

    /// Forgets the pending writes and budgets of runs other than `open`.
    pub fn retain(&mut self, open: &[Key]) {
        self.pending.retain(|key, _| open.contains(key));
        self.budgets.retain(|key, _| open.contains(key));
    }

    /// Whether the run has no pending write to the object.
    pub fn may_write(&self, key: &Key, object: &ObjectKey) -> bool {
        let pending = self.pending.get(key);
        pending.is_none_or(|pending| pending.may_write(object))
    }

    /// Records that the run was read or written.
    pub fn met(&mut self, key: &Key, run: &Remediation, now: Instant) {
        self.last_seen = Some((key.clone(), version(run), now));
    }

    /// The run that was last read or written, unless it is `key`.
    pub fn other_than(&self, key: &Key) -> Option<&Key> {
        let (run, ..) = self.last_seen.as_ref()?;
        (run != key).then_some(run)
    }

    /// Whether the run that was last read or written was then newer than `shown`.
    ///
    /// Since Kubernetes 1.35 versions of one kind may be compared (KEP-5504); before, they could be as well.
    pub fn is_newer_than(&self, shown: &Remediation) -> bool {
        let last_seen = self.last_seen.as_ref();
        last_seen.is_some_and(|(_, met, _)| *met > version(shown))
    }

    /// Records that the live state of a waiting run was read; reading it again costs lists and logs.
    pub fn live_read(&mut self, key: &Key, run: &Remediation, until: Option<Timestamp>) {
        self.live_read = until.map(|until| (key.clone(), version(run), until));
    }

    /// Returns `Break(deadline)` if the run, as the watch shows it, needs no action now; check it again by the deadline. `next`
    /// is not called for a run whose watched version is older than the one last read or written.
    pub fn idle_until(
        &self,
        key: &Key,
        shown: &Remediation,
        next: impl FnOnce() -> NextAction,
        now: Timestamp,
        at: Instant,
    ) -> ControlFlow<Option<Timestamp>> {
        let after = |pause: Duration| ControlFlow::Break(now.checked_add(pause).ok());
        if self.is_newer_than(shown)
            && let Some((_, _, met)) = self.last_seen.as_ref().filter(|(run, ..)| run == key)
        {
            // Wait for the watch; after `WATCH_LAG`, ignore its version of the run.
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
                let known = self.live_read.as_ref().filter(|(run, live_read, until)| {
                    (run, *live_read) == (key, version(shown)) && now < *until
                });
                known.map_or(ControlFlow::Continue(()), |(_, _, until)| {
                    ControlFlow::Break(Some(*until))
                })
            }
            NextAction::CollectEvidence(_) => ControlFlow::Continue(()),
        }
    }

    /// Records the latency of a status write, and the pause that its refusal requests.
    pub fn recorded(
        &mut self,
        key: &Key,
        took: Duration,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        let budget = self.budgets.entry(key.clone());
        let budget = budget.or_insert(WriteBudget::new(PROGRESS));
        budget.spend(took, retry_after, now);
    }

    /// How long an update of progress and held count is postponed, if nothing else differs.
    pub fn postponed(
        &self,
        key: &Key,
        known: Option<&RemediationStatus>,
        next: &RemediationStatus,
        now: Instant,
    ) -> Option<Duration> {
        let left = self.budgets.get(key)?.left(now);
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
    fn pending_write_of_one_run_does_not_block_another() {
        let mut cache = RunCache::new();
        let [first, second] = ["first", "second"].map(|name| (String::new(), name.to_owned()));
        let object = key_of("sonarr");
        cache.pending(&first).note(object.clone());
        assert!(!cache.may_write(&first, &object));
        assert!(cache.may_write(&second, &object));
        assert!(cache.pending(&second).may_write(&object));
    }

    /// Whether a run in version 10 is idle, `millis` after it was read in version `met`.
    fn is_idle(cache: &mut RunCache, met: Option<u64>, next: &NextAction, millis: u64) -> bool {
        let key = (String::new(), "run".to_owned());
        let (begun, after) = (Instant::now(), Duration::from_millis(millis));
        if let Some(met) = met {
            cache.met(&key, &of_version(met), begun);
        }
        let (shown, now, at) = (of_version(10), at(0) + after, begun + after);
        let next_pass = cache.idle_until(&key, &shown, || next.clone(), now, at);
        next_pass.is_break()
    }

    fn of_version(version: u64) -> Remediation {
        let mut run = run("run");
        run.metadata.resource_version = Some(version.to_string());
        run
    }

    #[test]
    fn watched_run_is_trusted_until_the_watch_lags() {
        let waits =
            |met, millis| is_idle(&mut RunCache::new(), met, &NextAction::Wait(None), millis);
        let acts = |met, millis| {
            let act = NextAction::Act(vec![Intent::Delete(key_of("sonarr"))]);
            is_idle(&mut RunCache::new(), met, &act, millis)
        };
        assert!(waits(None, 0) && waits(Some(10), 0) && waits(Some(10), 60_000));
        assert!(!acts(None, 0) && !acts(Some(10), 0));
        // Its echo is awaited, for three seconds; then it is read, whatever is shown.
        assert!(waits(Some(11), 2_999) && acts(Some(11), 2_999));
        assert!(!waits(Some(11), 3_000) && !acts(Some(11), 3_000));
    }

    #[test]
    fn only_intents_with_pending_writes_are_skipped() {
        let key = (String::new(), "run".to_owned());
        let act = |names: &[&str]| {
            let mut cache = RunCache::new();
            cache.pending(&key).note(key_of("sonarr"));
            let intents = names.iter().map(|name| Intent::Delete(key_of(name)));
            is_idle(&mut cache, None, &NextAction::Act(intents.collect()), 0)
        };
        assert!(act(&["sonarr"]));
        assert!(!act(&["sonarr", "lidarr"]));
        assert!(!is_idle(
            &mut RunCache::new(),
            None,
            &NextAction::CollectEvidence(Vec::new()),
            0
        ));
    }

    #[test]
    fn live_read_is_repeated_after_its_deadline_or_a_change() {
        let after = |version: u64, name: &str, millis| {
            let mut cache = RunCache::new();
            let until = at(0) + Duration::from_secs(2);
            let key = (String::new(), name.to_owned());
            cache.live_read(&key, &of_version(version), Some(until));
            is_idle(
                &mut cache,
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
            let mut cache = RunCache::new();
            cache.recorded(&key("run"), Duration::from_millis(took), None, written);
            cache
        };
        let known = held(&["lidarr", "prowlarr", "sonarr"]);
        let fewer = held(&["sonarr"]);
        let further = RemediationStatus {
            message: "restartProvisioner under way".to_owned(),
            ..fewer.clone()
        };
        let waits = |cache: &RunCache, run: &str, next: &RemediationStatus, millis| {
            let now = written + Duration::from_millis(millis);
            cache.postponed(&key(run), Some(&known), next, now)
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
            (&RunCache::new(), "run", fewer.clone()),
        ];
        for (cache, run, next) in at_once {
            assert_eq!(waits(cache, run, &next, 0), None, "{next:?}");
        }
    }

    /// One slot for all runs once let two runs write at full speed in turn.
    #[test]
    fn write_of_one_run_does_not_reset_the_budget_of_another() {
        let key = |name: &str| ("locksmith".to_owned(), name.to_owned());
        let (mut cache, now) = (RunCache::new(), Instant::now());
        for name in ["first", "second"] {
            cache.recorded(&key(name), Duration::from_millis(20), None, now);
        }
        let (known, next) = (held(&["lidarr", "sonarr"]), held(&["sonarr"]));
        for name in ["first", "second"] {
            let left = cache.postponed(&key(name), Some(&known), &next, now);
            assert_eq!(left, Some(Duration::from_secs(1)), "{name}");
        }
        cache.retain(&[key("second")]);
        assert_eq!(
            cache.postponed(&key("first"), Some(&known), &next, now),
            None
        );
    }
}
