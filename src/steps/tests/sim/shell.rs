//! Drives a run with lagging watches, a process that dies and writes that fail, and checks the invariants throughout.

use std::collections::{BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::{Cluster, seconds};
use crate::api::Uid;
use crate::api::remediation::{Phase, RemediationStatus, StepPhase, StepProgress};
use crate::api::{PlannedStep, StepName};
use crate::config::{Config, Mode};
use crate::findings::{self, DetectionSettings, Finding};
use crate::holds;
use crate::model::fixture::*;
use crate::model::{Change, Kind, Model, WatchState};
use crate::run_context::LiveState;
use crate::steps::{Intent, NextAction, next};

/// Fault rates. All zero: watches show everything at once, nothing fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    pub seed: u64,
    /// Longest lag of the watches, in seconds.
    pub lag: u64,
    /// Writes that fail, per hundred.
    pub fails: u64,
    /// Passes at whose end the process dies, per thousand.
    pub dies: u64,
    /// Objects that somebody else writes between our reading and our writing, per hundred.
    pub races: u64,
}

impl FaultRates {
    fn fails_now(&mut self) -> bool {
        self.roll(100) < self.fails
    }

    /// xorshift64*: a proptest case is the same each time.
    fn roll(&mut self, sides: u64) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides.max(1)
    }
}

pub struct Sim {
    pub cluster: Cluster,
    pub config: Config,
    pub chance: FaultRates,
    /// The writes that succeeded.
    pub done: Vec<Intent>,
    /// Log of phase, step and message changes, for failure messages.
    pub told: Vec<String>,
    /// The progress of steps as recorded, each change once.
    pub progress: Vec<(StepName, StepProgress)>,
    pub(super) model: Model,
    pub(super) findings: Vec<Finding>,
    settings: DetectionSettings,
    coming: VecDeque<(Timestamp, Change)>,
    facts: Option<LiveState>,
    /// When a batch was released last.
    batch: Option<Timestamp>,
    deleted: BTreeSet<Uid>,
}

/// How long it may take to release everything, one at a time and some writes failing.
const RESUMED: SignedDuration = SignedDuration::from_mins(15);

/// Maximum number of passes at one time; a run that needs more makes no progress.
const MAX_PASSES: usize = 40;

impl Sim {
    pub fn new(cluster: Cluster, config: Config, mut chance: FaultRates) -> Self {
        chance.seed |= 1;
        let settings = DetectionSettings {
            detect: config.detect.clone(),
            drivers: config.drivers.clone(),
            one_shot: false,
        };
        let mut sim = Self {
            cluster,
            config,
            chance,
            done: Vec::new(),
            told: Vec::new(),
            progress: Vec::new(),
            model: Model::default(),
            findings: Vec::new(),
            settings,
            coming: VecDeque::new(),
            facts: None,
            batch: None,
            deleted: BTreeSet::new(),
        };
        sim.start();
        sim
    }

    /// A new process knows nothing, and lists everything.
    pub fn start(&mut self) {
        self.model = Model::default();
        self.coming.clear();
        self.cluster.news.clear();
        self.facts = None;
        let now = self.cluster.now;
        let mut news: VecDeque<Change> = self.cluster.everything().into();
        news.push_back(Change::Leads(Some(1)));
        news.extend(Kind::ALL.map(|kind| Change::Read(kind, WatchState::Synced, now)));
        self.cluster.news = news;
    }

    /// Lets time pass until the run is over and nothing is held, or until `end`.
    pub fn run_until(&mut self, end: Timestamp) {
        while self.cluster.now < end && !self.over() {
            let wake = self.pass();
            self.check_invariants();
            let now = self.cluster.now;
            let shown = self.coming.front().map(|(at, _)| *at);
            let news = (!self.cluster.news.is_empty()).then_some(now);
            let next = [wake, self.cluster.next_event(), shown, news];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            self.cluster.now = next.max(now + seconds(1)).min(end);
            self.cluster.react();
        }
    }

    fn over(&self) -> bool {
        let finished = self.cluster.run.as_ref().is_none_or(|run| {
            run.status
                .as_ref()
                .is_some_and(|status| status.phase.finished() && status.holds.is_empty())
        });
        finished && self.cluster.held().next().is_none() && self.coming.is_empty()
    }

    /// One pass of the controller; returns the latest time of the next.
    fn pass(&mut self) -> Option<Timestamp> {
        self.watch();
        let now = self.cluster.now;
        self.findings = findings::detect(&self.model, &self.settings, now);
        let released = self.release();
        let drove = self.drive();
        if self.chance.roll(1000) < self.chance.dies {
            self.start();
        }
        self.facts = None;
        [released, drove].into_iter().flatten().min()
    }

    fn watch(&mut self) {
        let now = self.cluster.now;
        for change in std::mem::take(&mut self.cluster.news) {
            let lag = self.chance.roll(self.chance.lag + 1);
            let soonest = self.coming.back().map_or(now, |(at, _)| *at);
            let shown = soonest.max(now + seconds(i64::try_from(lag).unwrap()));
            self.coming.push_back((shown, change));
        }
        while let Some((_, change)) = self.coming.pop_front_if(|(at, _)| *at <= now) {
            self.model.apply(change);
        }
        self.model.refusals.forget_ended(now);
    }

    /// Releases what is due, as the shell does all the time.
    fn release(&mut self) -> Option<Timestamp> {
        let now = self.cluster.now;
        let resume = &self.config.steps.resume_sources;
        let every = resume.every.signed();
        let ready = self.batch.is_none_or(|at| now.duration_since(at) >= every);
        let mut wakes: Vec<_> = self.cluster.holds.values().map(|hold| hold.until).collect();
        for release in holds::releases(&self.model, resume.into(), resume.batch, now) {
            if release.in_turn && !ready {
                wakes.push(now + every);
                continue;
            }
            if release.in_turn {
                self.batch = Some(now);
            }
            wakes.push(now + seconds(1));
            let intent = match release.change {
                None => Intent::DeleteHold(release.hold),
                Some(change) => Intent::PatchHold {
                    hold: release.hold,
                    change,
                },
            };
            if !self.chance.fails_now() {
                self.cluster.perform(&intent, &self.model, false);
            }
        }
        wakes.into_iter().filter(|wake| *wake > now).min()
    }

    fn fails(&mut self) -> bool {
        self.chance.fails_now()
    }

    /// Carries out the next actions until the run waits; returns the latest time of the next pass.
    fn drive(&mut self) -> Option<Timestamp> {
        let soon = Some(self.cluster.now + seconds(1));
        for _ in 0..MAX_PASSES {
            let run = self.cluster.run.clone()?;
            let facts = self.facts.as_ref();
            let now = self.cluster.now;
            match next(&run, &self.model, &self.findings, &self.config, facts, now) {
                NextAction::Wait(until) => return until,
                NextAction::Record(status) => {
                    assert_ne!(run.status.as_ref(), Some(&*status), "records nothing new");
                    if self.fails() {
                        return soon;
                    }
                    self.judge_record(&run, &status);
                    self.tell(run.status.as_ref(), &status);
                    let mut run = run;
                    run.status = Some(*status);
                    self.cluster.write_run(run);
                }
                NextAction::Prove(probe) => {
                    let proof = self.cluster.prove(&probe);
                    self.facts = Some(LiveState::of_proof(now, Ok(proof)));
                }
                NextAction::ReadLive { logs } => {
                    self.facts = Some(self.cluster.read_live_state(logs));
                }
                NextAction::CollectEvidence(objects) => {
                    let mut run = run;
                    let kept: Vec<_> = objects
                        .iter()
                        .filter_map(|o| self.cluster.evidence(o))
                        .collect();
                    if kept.is_empty() || self.fails() {
                        return soon;
                    }
                    run.status.as_mut().unwrap().evidence.extend(kept);
                    self.cluster.write_run(run);
                }
                NextAction::Act(intents) => {
                    let status = run.status.clone().unwrap_or_default();
                    let closed = crate::gates::closed(&status.gates);
                    let undoing = status.step == Some(StepName::ResumeSources);
                    assert!(
                        undoing || closed.is_none(),
                        "acts, and on record is {closed:?}"
                    );
                    for intent in intents {
                        self.check_intent(run.spec.abort, &status, &intent);
                        if self.fails() {
                            continue;
                        }
                        let raced = self.chance.roll(100) < self.chance.races;
                        if self.cluster.perform(&intent, &self.model, raced) {
                            self.done.push(intent);
                        }
                        if self.chance.roll(1000) < self.chance.dies {
                            self.start();
                            return soon;
                        }
                    }
                    return soon;
                }
            }
        }
        panic!("makes no progress: {:?}", self.told.last());
    }

    fn tell(&mut self, before: Option<&RemediationStatus>, after: &RemediationStatus) {
        let line = |status: &RemediationStatus| {
            let step = status.step.map_or("-", StepName::as_str);
            format!("{:?} {step}: {}", status.phase, status.message)
        };
        if before.map(line) != Some(line(after)) {
            self.told.push(line(after));
        }
        if let Some((step, progress)) = after.current_progress() {
            self.progress.push((step, progress.clone()));
        }
    }

    /// Checks an intent before it is carried out.
    fn check_intent(&mut self, aborted: bool, status: &RemediationStatus, intent: &Intent) {
        let said = || format!("{intent:?} after {:?}", self.told);
        assert_eq!(
            self.config.mode,
            Mode::Act,
            "acts although it may not: {}",
            said()
        );
        let doubts: Vec<_> = self.model.freshness.unsynced().collect();
        assert!(doubts.is_empty(), "acts in doubt of {doubts:?}: {}", said());
        let stopped = self
            .model
            .namespaces
            .get_cluster(&"locksmith".into())
            .is_none_or(|n| n.stopped);
        assert!(
            !stopped && !aborted,
            "acts although it was stopped: {}",
            said()
        );
        assert_eq!(status.phase, Phase::Running, "{}", said());
        let record = status.steps.last().unwrap();
        assert_eq!(
            record.phase,
            StepPhase::Started,
            "acts before it says so: {}",
            said()
        );
        let planned = status
            .plan
            .as_ref()
            .and_then(|plan| plan.step(record.step))
            .unwrap();
        let is_target = || {
            let mut targets = planned.targets.iter();
            targets.any(|target| target.object == *intent.object())
        };
        match intent {
            Intent::CreateHold { run, spec, .. } => {
                let deadline = self.config.steps.suspend_sources.deadline.signed();
                assert!(spec.until <= self.cluster.now + deadline, "{}", said());
                assert_eq!(*run, run_ref("r"));
                self.check_held(planned, &spec.sources, &said());
            }
            Intent::PatchHold { change, .. } => {
                let releases = !change.remove.is_empty() || change.release_classes;
                assert!(!releases, "a step releases: {}", said());
                self.check_held(planned, &change.add, &said());
            }
            Intent::DeleteHold(_) => panic!("a step releases: {}", said()),
            _ => assert!(is_target(), "is not in the plan: {}", said()),
        }
        if let Intent::Delete(object) = intent {
            let kept = status
                .evidence
                .iter()
                .any(|kept| kept.object.uid == object.uid);
            assert!(kept, "deletes without evidence: {}", said());
            self.deleted.insert(object.uid.clone());
            let most = usize::try_from(self.config.gates.max_deletions).unwrap();
            assert!(
                self.deleted.len() <= most,
                "deletes more than it may: {}",
                said()
            );
        }
        if let Intent::HandOver { object, holder, .. } = intent {
            let kept = status.evidence.iter().any(|kept| kept.object == *object);
            assert!(kept, "hands over without evidence: {}", said());
            let runs = self.cluster.pods.keys().any(|(_, name)| name == holder)
                || self.cluster.zombies.contains(holder);
            assert!(!runs, "hands over what {holder} still holds: {}", said());
        }
    }

    /// Checks that sources to hold are planned, and have not opted out.
    fn check_held(
        &self,
        planned: &PlannedStep,
        sources: &std::collections::BTreeMap<Uid, String>,
        said: &str,
    ) {
        for place in sources.values() {
            let (namespace, name) = holds::parse_place(place).unwrap();
            let names = planned.sources.get(&namespace);
            let is_planned = names.is_some_and(|names| names.contains(&name));
            assert!(is_planned, "{place} is not in the plan: {said}");
            let source = self.model.sources.get(&namespace, &name);
            let opted_out = source.is_some_and(|source| source.meta.opted_out);
            assert!(!opted_out, "{place} opted out: {said}");
        }
    }

    /// Checks the invariants that hold at any time.
    fn check_invariants(&self) {
        let now = self.cluster.now;
        let status = self.status();
        for (place, until) in self.cluster.held() {
            let ended = status
                .finished_at
                .filter(|_| matches!(status.phase, Phase::Failed | Phase::Aborted));
            assert!(
                ended.is_none_or(|ended| now < ended + RESUMED),
                "{place:?} is held after its run has ended: {:?}",
                self.told
            );
            let deadline = self.config.steps.suspend_sources.deadline.signed();
            assert!(
                until <= now + deadline,
                "{place:?} is held for longer than configured: {:?}",
                self.told
            );
        }
    }

    /// The status as last written.
    pub fn status(&self) -> RemediationStatus {
        self.cluster
            .run
            .as_ref()
            .and_then(|run| run.status.clone())
            .unwrap_or_default()
    }

    /// Checks that nothing is held at the end.
    pub fn check_end(&self) {
        let held: Vec<_> = self.cluster.held().collect();
        assert_eq!(held, [], "still held: {:?}", self.told);
    }
}
