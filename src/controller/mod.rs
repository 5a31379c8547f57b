//! Runs Remediations: [`steps::next`] decides the next action, and this carries it out.
//!
//! Each pass reads the run uncached, decides on that status, and records it with its resourceVersion before and after every
//! action. State kept between passes only saves reads.

mod backoff;
mod clock_jumps;
mod pending_writes;
mod pruned;
mod report;
mod retention;
mod run_cache;
mod sweeper;

pub use sweeper::sweep;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::api::StepName;
use crate::api::remediation::{RECORD_BYTES, Remediation, RemediationStatus};
use crate::api::{ObjectKey, SharedStr};
use crate::cluster::{
    self, EventRecorder, EventType, Tried, WriteError, Writer, bounded, read_live_state,
    remediations,
};
use crate::config::Config;
use crate::gates;
use crate::metrics::SelfMetrics;
use crate::model::records::Run;
use crate::model::{Kind, Model};
use crate::run_context::LiveState;
use crate::state::Store;
use crate::steps::{self, Intent, NextAction};
use crate::tasks::heartbeat::Heartbeat;
use crate::watch::{Clocks, Patterns};
use backoff::Backoff;
use clock_jumps::ClockJumps;
use pending_writes::PendingWrites;
use report::{event, verb};
use run_cache::{Key, RunCache};

/// Writes under way at once. The API server's own fairness starts to queue above this.
const CONCURRENCY: usize = 16;

/// Pause before a pass that failed is repeated.
const RETRY: Duration = Duration::from_secs(1);

/// How long the watch may take to show a write, before the object or the run's record is read again.
const WATCH_LAG: Duration = Duration::from_secs(3);

/// Limits of one pass over a run: actions, and live reads among them. Both continue immediately, so a run without progress
/// would loop: the API server stores another record than was sent, or another clock made the last one.
const MAX_ACTIONS: usize = 32;
const MAX_LIVE_READS: usize = 3;

/// Shortest pause before a pass that is due by time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Dependencies of the controller.
#[derive(Clone)]
pub struct Controller {
    /// The model of the cluster.
    pub store: Store,
    /// Writes to the cluster.
    pub writer: Writer,
    /// Publishes an Event for each write.
    pub events: EventRecorder,
    /// Lock patterns.
    pub patterns: Arc<Patterns>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The program's own metrics.
    pub own: SelfMetrics,
    /// Shows that the runs are driven.
    pub heartbeat: Heartbeat,
    /// Namespace whose Remediations it drives and deletes; those of others belong to other daemons.
    pub namespace: SharedStr,
}

impl Controller {
    /// Drives every run there is, one at a time, for as long as the process lives.
    pub async fn run(self) {
        let mut views = self.store.views();
        let (mut cache, mut jumps) = (RunCache::new(), ClockJumps::new());
        let mut backoff = Backoff::default();
        loop {
            self.heartbeat.beat();
            let mut again: Option<Duration> = None;
            // In each pass; each run checks whether it may act.
            jumps.look(Clocks::now());
            let open = self.open_runs();
            if let Some(open) = &open {
                backoff.retain(open);
                cache.retain(open);
            }
            for key in open.unwrap_or_default() {
                if let Some(left) = backoff.left(&key, Instant::now()) {
                    again = [again, Some(left)].into_iter().flatten().min();
                    continue;
                }
                if self.is_behind(&cache, &key) {
                    again = Some(RETRY);
                    continue;
                }
                let wait = match self.drive(&key, &mut cache, &mut jumps).await {
                    Ok(until) => {
                        backoff.succeeded(&key);
                        until.map(from_now)
                    }
                    Err(error) => {
                        tracing::warn!(run = %key.1, %error, "reconcile failed; retrying");
                        Some(backoff.failed(&key, Instant::now(), error.retry_after()))
                    }
                };
                again = [again, wait].into_iter().flatten().min();
            }
            let changed = views.changed();
            match again {
                None => {
                    if changed.await.is_err() {
                        return;
                    }
                }
                Some(pause) => {
                    let pause = pause.max(SHORTEST_PAUSE);
                    if matches!(tokio::time::timeout(pause, changed).await, Ok(Err(_))) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether the clock agrees with the API server's, as far as the watch has reported.
    fn clock_is_trusted(&self) -> bool {
        self.store
            .read(|model| model.freshness.trusted(Kind::Clock))
    }

    /// Runs that are not over, and those that are but still show holds; the oldest first. Empty while this replica does
    /// not lead; `None` while they cannot be read, so that their backoff outlasts a failed watch.
    fn open_runs(&self) -> Option<Vec<Key>> {
        let leads = self.writer.leads();
        self.store
            .read(|model| known_runs(model, &self.namespace, leads))
    }

    /// Whether the model lags behind the last read or write of another run; gates would then evaluate `key` as if that run
    /// had not started. The run's own record is not checked, because `drive` reads it uncached.
    fn is_behind(&self, cache: &RunCache, key: &Key) -> bool {
        cache.other_than(key).is_some_and(|(namespace, name)| {
            self.store.read(|model| {
                let (namespace, name) = (SharedStr::from(&**namespace), SharedStr::from(&**name));
                let shown = model.runs.get(&namespace, &name);
                shown.is_some_and(|run| cache.is_newer_than(&run.object))
            })
        })
    }

    /// Returns `Break(deadline)` if the watched run needs no action, which saves one GET per run and view: writes need the API
    /// server's capacity. An action is always decided on the uncached run.
    fn idle_until(&self, key: &Key, cache: &RunCache) -> ControlFlow<Option<Timestamp>> {
        let (namespace, name) = (SharedStr::from(&*key.0), SharedStr::from(&*key.1));
        let (now, at) = (Timestamp::now(), Instant::now());
        let shown = self.store.judge(|model, view| {
            let run = &model.runs.get(&namespace, &name)?.object;
            let next = || steps::next(run, model, &view.findings, &self.config, None, now);
            Some(cache.idle_until(key, run, next, now, at))
        });
        shown.unwrap_or(ControlFlow::Continue(()))
    }

    /// Advances one run until it has to wait; returns until when at the latest.
    async fn drive(
        &self,
        key: &Key,
        cache: &mut RunCache,
        jumps: &mut ClockJumps,
    ) -> Result<Option<Timestamp>, WriteError> {
        if let ControlFlow::Break(until) = self.idle_until(key, cache) {
            return Ok(until);
        }
        let (namespace, name) = key;
        let api: Api<Remediation> = Api::namespaced(self.writer.client().clone(), namespace);
        let read = bounded("get", || format!("Remediation {name}"), api.get_opt(name)).await?;
        let Some(mut run) = read else { return Ok(None) };
        let mut facts: Option<LiveState> = None;
        let mut live_reads = 0;
        for _ in 0..MAX_ACTIONS {
            self.heartbeat.beat();
            cache.met(key, &run, Instant::now());
            let clocks = Clocks::now();
            if jumps.jumped_recently(clocks) && self.clock_is_trusted() {
                return Ok(clocks.wall.checked_add(RETRY).ok());
            }
            let next = self.store.judge(|model, view| {
                steps::next(
                    &run,
                    model,
                    &view.findings,
                    &self.config,
                    facts.as_ref(),
                    clocks.wall,
                )
            });
            match next {
                NextAction::Record(mut status) => {
                    let begun = Instant::now();
                    let known = run.status.as_ref();
                    if let Some(left) = cache.postponed(key, known, &status, begun) {
                        return Ok(Timestamp::now().checked_add(left).ok());
                    }
                    cache.pending(key).explain(known, &mut status);
                    run = self.record(run, *status).await?;
                    cache.recorded(key, begun.elapsed(), None, Instant::now());
                }
                NextAction::CollectEvidence(objects) => match self.gather(&run, &objects).await? {
                    Some(recorded) => run = recorded,
                    // All are gone, which the watch is about to show.
                    None => return Ok(Timestamp::now().checked_add(RETRY).ok()),
                },
                NextAction::ReadLive { .. } if live_reads == MAX_LIVE_READS => break,
                NextAction::ReadLive { logs } => {
                    live_reads += 1;
                    let client = self.writer.client();
                    let logs_of = logs.then_some(&run.spec.driver);
                    let live =
                        read_live_state(client, &self.store, &self.patterns, &self.config, logs_of);
                    facts = Some(live.await);
                }
                NextAction::Prove(probe) => {
                    let at = Timestamp::now();
                    let proof = cluster::hold::prove(self.writer.client(), &probe).await;
                    let proof = proof.map_err(|error| error.to_string());
                    facts = Some(LiveState::of_proof(at, proof));
                }
                NextAction::Act(intents) => {
                    self.act(&run, intents, cache.pending(key)).await;
                    self.show_progress(key, run, cache).await?;
                    return Ok(Timestamp::now().checked_add(RETRY).ok());
                }
                NextAction::Wait(until) => {
                    if facts.is_some() {
                        cache.live_read(key, &run, until);
                    }
                    return Ok(until);
                }
            }
        }
        tracing::warn!(run = name, "the run makes no progress; check the clock");
        Ok(Timestamp::now().checked_add(RETRY).ok())
    }

    /// Records the progress of a step that acts, if its last record is old enough.
    async fn show_progress(
        &self,
        key: &Key,
        run: Remediation,
        cache: &mut RunCache,
    ) -> Result<(), WriteError> {
        let progress = self.store.judge(|model, view| {
            let now = Timestamp::now();
            steps::progress(&run, model, &view.findings, &self.config, now)
        });
        let (known, begun) = (run.status.as_ref(), Instant::now());
        let Some(status) =
            progress.filter(|status| cache.postponed(key, known, status, begun).is_none())
        else {
            return Ok(());
        };
        match self.record(run, status).await {
            Ok(run) => {
                cache.recorded(key, begun.elapsed(), None, Instant::now());
                cache.met(key, &run, Instant::now());
                Ok(())
            }
            Err(error @ (WriteError::NotLeader | WriteError::OutdatedCrd { .. })) => Err(error),
            // Nothing depends on it, and the next pass reads the run again.
            Err(error) => {
                cache.recorded(key, begun.elapsed(), error.retry_after(), Instant::now());
                tracing::debug!(run = key.1, %error, "progress not recorded");
                Ok(())
            }
        }
    }

    /// Carries out `intents`, except those with a pending write. `steps::next` returns a skipped or failed intent again;
    /// [`PendingWrites`] delays it with backoff.
    async fn act(&self, run: &Remediation, intents: Vec<Intent>, recent: &mut PendingWrites) {
        let of_step = run.status.as_ref().and_then(|status| status.step);
        let step = of_step.map(StepName::as_str);
        let namespace = SharedStr::from(run.namespace().unwrap_or_default());
        let run = run.name_any();
        let due: Vec<_> = intents
            .into_iter()
            .filter(|intent| recent.may_write(intent.object()))
            .collect();
        let namespace = &namespace;
        let mut writes = Vec::with_capacity(due.len());
        for intent in due {
            writes.push(async move {
                // A batch may be long, and the switch is pulled in a hurry.
                let stopped = self.store.read(|model| gates::stopped(model, namespace));
                let tried = match stopped {
                    Some(why) => Ok(Tried::Skipped(why)),
                    None => self.writer.perform(&intent).await,
                };
                (intent, tried)
            });
        }
        let mut tries = futures::stream::iter(writes).buffer_unordered(CONCURRENCY);
        while let Some((intent, tried)) = tries.next().await {
            self.heartbeat.beat();
            let object = intent.object();
            let verb = verb(&intent);
            match tried {
                Ok(Tried::Written) => {
                    recent.note(object.clone());
                    self.own.write(verb, object.kind.as_str(), "ok");
                    tracing::info!(run, step, verb, %object, "write succeeded");
                    let (reason, message) = event(&intent, &run);
                    self.events
                        .publish(object, EventType::Normal, reason, &message);
                }
                Ok(Tried::Skipped(why)) => {
                    self.own.write(verb, object.kind.as_str(), "skipped");
                    tracing::info!(run, step, verb, %object, reason = why, "write skipped");
                    recent.note_refused(object.clone(), of_step, format!("{object}: {why}"), None);
                }
                Err(error) => {
                    self.own
                        .write(verb, object.kind.as_str(), error.kind().as_str());
                    tracing::warn!(run, step, verb, %object, %error, "write failed");
                    let after = error.retry_after();
                    recent.note_refused(object.clone(), of_step, error.to_string(), after);
                }
            }
        }
    }

    /// Records `objects` as evidence; `None` if none exists any more.
    async fn gather(
        &self,
        run: &Remediation,
        objects: &[ObjectKey],
    ) -> Result<Option<Remediation>, WriteError> {
        let mut status = run.status.clone().unwrap_or_default();
        let taken = serde_json::to_vec(&(&run.spec, &status)).map_or(0, |json| json.len());
        let room = RECORD_BYTES.saturating_sub(taken) / objects.len().max(1);
        let mut reads = Vec::with_capacity(objects.len());
        for object in objects {
            reads.push(self.writer.gather(object, room));
        }
        let known = status.evidence.len();
        let mut reads = futures::stream::iter(reads).buffered(CONCURRENCY);
        let mut failed = None;
        while let Some(evidence) = reads.next().await {
            self.heartbeat.beat();
            match evidence {
                Ok(evidence) => status.evidence.extend(evidence),
                Err(error) => failed = Some(error),
            }
        }
        // Evidence that was read is recorded although another read failed. Where one request in five fails, all of them
        // hardly ever succeed in one pass.
        match failed {
            Some(error) if status.evidence.len() == known => Err(error),
            None if status.evidence.len() == known => Ok(None),
            Some(_) | None => self.record(run.clone(), status).await.map(Some),
        }
    }

    /// Writes the status, if nobody has changed the object since it was read.
    async fn record(
        &self,
        mut run: Remediation,
        status: RemediationStatus,
    ) -> Result<Remediation, WriteError> {
        let term = self.writer.confirm().await?;
        let before = run.status.take();
        let status = RemediationStatus {
            term: Some(term.number),
            ..status
        };
        let written = remediations::record(self.writer.client(), run, status.clone()).await?;
        if let Some(field) = pruned::pruned(&status, written.status.as_ref()) {
            return Err(WriteError::OutdatedCrd { field });
        }
        self.report(&written, before.as_ref());
        Ok(written)
    }
}

/// See [`Controller::open_runs`].
fn known_runs(model: &Model, namespace: &SharedStr, leads: bool) -> Option<Vec<Key>> {
    if !leads || model.term.is_none() {
        return Some(Vec::new());
    }
    let trusted = model.freshness.trusted(Kind::Remediations);
    trusted.then(|| open_runs(model, namespace))
}

/// The open runs of `namespace`, the oldest first.
fn open_runs(model: &Model, namespace: &SharedStr) -> Vec<Key> {
    let mut open: Vec<_> = model
        .runs
        .iter()
        .filter(|run| run.meta.namespace == *namespace)
        .filter(|run| {
            let status = run.object.status.as_ref();
            status.is_none_or(|status| !status.phase.finished() || !status.holds.is_empty())
        })
        .collect();
    open.sort_by_key(|run| (run.meta.created, run.meta.name.clone()));
    let key = |run: &Run| (run.meta.namespace.to_string(), run.meta.name.to_string());
    open.into_iter().map(key).collect()
}

fn from_now(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::remediation::Phase;
    use crate::model::fixture::{World, at, recorded, run, run_in};
    use crate::model::{Change, Delta, WatchState};

    /// Two daemons of one cluster watch the same Remediations, and each drives those of its own namespace.
    #[test]
    fn open_runs_are_of_one_namespace_and_the_oldest_first() {
        let made = |name: &str, namespace: Option<&str>, minute: i64| {
            let mut run = run(name);
            run.metadata.creation_timestamp = Some(
                k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(minute)),
            );
            if let Some(namespace) = namespace {
                run.metadata.namespace = Some(namespace.to_owned());
            }
            Change::Run(Delta::Apply(recorded(run)))
        };
        let over = recorded(run_in("over", Phase::Succeeded));
        let own = over.meta.namespace.clone();
        let world = World::empty()
            .with(Change::Run(Delta::Apply(over)))
            .with(made("second", None, -10))
            .with(made("first", None, -20))
            .with(made("theirs", Some("elsewhere"), -30));
        let names = |namespace: &SharedStr| -> Vec<String> {
            let open = open_runs(&world.0, namespace);
            open.into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(names(&own), ["first", "second"]);
        assert_eq!(names(&"elsewhere".into()), ["theirs"]);
    }
    /// An overloaded API server once ended the backoff of all runs by failing their watch.
    #[test]
    fn runs_are_unknown_while_their_watch_fails() {
        let failing = WatchState::Failing("429".to_owned());
        let read = |state| World::rook().reading(Kind::Remediations, state);
        let known = |world: &World, leads| known_runs(&world.0, &"locksmith".into(), leads);
        assert_eq!(known(&read(failing.clone()), true), None);
        assert_eq!(known(&read(failing), false), Some(Vec::new()));
        assert_eq!(known(&read(WatchState::Synced), true), Some(Vec::new()));
    }
}
