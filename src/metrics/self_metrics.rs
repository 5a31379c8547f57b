//! Counters of the program itself. Clones share them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::families as f;
use super::family::{Encoder, Labels};
use crate::api::StepName;
use crate::findings::{FindingKind, FindingReason};
use crate::model::Kind;
use crate::tasks::heartbeat::Heartbeats;

/// Bucket bounds for steps, in seconds: a patch takes one, a takeover of leases 165, the longest timeout some hours.
const STEP_SECONDS: [f64; 10] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 3600.0,
];

/// Bucket bounds for taking a view, in seconds: well below one for 20,000 objects.
const VIEW_SECONDS: [f64; 7] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

/// Bucket bounds for the duration of findings, in seconds: a minute to a week.
const STUCK_SECONDS: [f64; 10] = [
    60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0,
];

/// Outcome of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlertOutcome {
    /// A Remediation was created for it.
    Started,
    /// It joined an existing Remediation.
    Joined,
    /// It starts nothing: it is resolved, or no playbook matches.
    Ignored,
    /// It is a test of `locksmith test-alert`, which starts nothing.
    Test,
    /// It is about another cluster.
    OtherCluster,
    /// It could not be recorded; Alertmanager retries.
    Refused,
}

/// The way an alert arrives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertSource {
    /// Alertmanager posted it.
    Webhook,
    /// It was read from Alertmanager.
    Poll,
}

/// Outcome of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StepOutcome {
    /// The cluster shows its effect.
    Succeeded,
    /// It failed.
    Failed,
}

/// Counters and gauges of the remediator.
#[derive(Clone, Debug)]
pub struct SelfMetrics {
    leader: Gauge,
    webhook_requests: Family<Labels<1>, Counter>,
    webhook_alerts: Family<Labels<2>, Counter>,
    pulls: Family<Labels<1>, Counter>,
    last_alerts: Arc<Mutex<[Option<Timestamp>; 2]>>,
    steps: Family<Labels<2>, Counter>,
    step_duration: Family<Labels<1>, Histogram>,
    writes: Family<Labels<3>, Counter>,
    watch_errors: Family<Labels<1>, Counter>,
    log_lines: Counter,
    view_duration: Histogram,
    stuck_duration: Family<Labels<1>, Histogram>,
    heartbeats: Heartbeats,
}

impl Default for SelfMetrics {
    /// Counters with known labels start at 0, so that `increase()` sees the first event.
    fn default() -> Self {
        let own = Self {
            leader: Gauge::default(),
            webhook_requests: Family::default(),
            webhook_alerts: Family::default(),
            pulls: Family::default(),
            last_alerts: Arc::default(),
            steps: Family::default(),
            step_duration: Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            writes: Family::default(),
            watch_errors: Family::default(),
            log_lines: Counter::default(),
            view_duration: Histogram::new(VIEW_SECONDS),
            stuck_duration: Family::new_with_constructor(|| Histogram::new(STUCK_SECONDS)),
            heartbeats: Heartbeats::default(),
        };
        for finding in FindingReason::all().map(|(finding, _)| finding) {
            if finding != FindingKind::HeldSource.as_str() {
                own.stuck_durations(finding);
            }
        }
        for step in StepName::ALL {
            for outcome in [StepOutcome::Succeeded, StepOutcome::Failed] {
                own.step_counter(step, outcome);
            }
        }
        for code in ["200", "202", "400", "401", "403", "413", "415", "503"] {
            own.webhook_counter(code.to_owned());
        }
        for outcome in [
            AlertOutcome::Ignored,
            AlertOutcome::Test,
            AlertOutcome::OtherCluster,
        ] {
            own.alert_counter(None, outcome);
        }
        for ok in [true, false] {
            own.pull_counter(ok);
        }
        for kind in Kind::ALL {
            own.watch_counter(kind);
        }
        own
    }
}

impl SelfMetrics {
    /// The loops that the liveness probe checks.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.heartbeats
    }

    /// Records whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts a response of the webhook by its HTTP status.
    pub fn webhook_request(&self, code: u16) {
        self.webhook_counter(code.to_string()).inc();
    }

    /// Counts a received alert; `playbook` is the one that it starts, if any.
    pub fn alert(&self, playbook: Option<&str>, outcome: AlertOutcome) {
        self.alert_counter(playbook, outcome).inc();
    }

    fn alert_counter(&self, playbook: Option<&str>, outcome: AlertOutcome) -> Counter {
        let playbook = playbook.unwrap_or_default().to_owned();
        let labels = f::WEBHOOK_ALERTS.series([playbook, outcome.as_str().to_owned()]);
        self.webhook_alerts.get_or_create_owned(&labels)
    }

    /// Counts a poll of Alertmanager by whether it succeeded and the alerts were accepted.
    pub fn pulled(&self, ok: bool) {
        self.pull_counter(ok).inc();
    }

    /// An alert arrived in this way, whether or not it starts a run.
    pub fn alert_arrived(&self, source: AlertSource, at: Timestamp) {
        self.last_alerts()[source as usize] = Some(at);
    }

    /// The way and time of the latest alert since the start of the process.
    pub fn last_alert(&self) -> Option<(AlertSource, Timestamp)> {
        self.arrivals().max_by_key(|(_, at)| *at)
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    fn arrivals(&self) -> impl Iterator<Item = (AlertSource, Timestamp)> + use<> {
        let last = *self.last_alerts();
        let by = move |source| Some((source, last[source as usize]?));
        AlertSource::ALL.into_iter().filter_map(by)
    }

    fn last_alerts(&self) -> MutexGuard<'_, [Option<Timestamp>; 2]> {
        self.last_alerts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the duration of a step that has ended.
    pub fn step_finished(&self, step: StepName, outcome: StepOutcome, took: Duration) {
        self.step_counter(step, outcome).inc();
        let labels = f::STEP_DURATION.series([step.as_str()]);
        let durations = self.step_duration.get_or_create_owned(&labels);
        durations.observe(took.as_secs_f64());
    }

    /// Counts a write. `kind` is that of the object, `outcome` is `"ok"`, `"skipped"` or a class of error; both are closed
    /// sets.
    pub fn write(&self, verb: &'static str, kind: &'static str, outcome: &'static str) {
        let labels = f::WRITES.series([verb, kind, outcome]);
        self.writes.get_or_create_owned(&labels).inc();
    }

    /// Counts a failure of a watch, which is then restarted.
    pub fn watch_failed(&self, kind: Kind) {
        self.watch_counter(kind).inc();
    }

    /// Counts lines read from a provisioner's log.
    pub fn log_lines(&self, lines: u64) {
        self.log_lines.inc_by(lines);
    }

    /// Records the time it took to take a view.
    pub fn view_taken(&self, took: Duration) {
        self.view_duration.observe(took.as_secs_f64());
    }

    /// Records how long a cleared finding of this kind had lasted.
    pub fn cleared(&self, finding: &'static str, stood: Duration) {
        self.stuck_durations(finding).observe(stood.as_secs_f64());
    }

    pub(super) fn encode(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let Self {
            leader,
            webhook_requests,
            webhook_alerts,
            pulls,
            last_alerts: _,
            steps,
            step_duration,
            writes,
            watch_errors,
            log_lines,
            view_duration,
            stuck_duration: _,
            heartbeats: _,
        } = self;
        to.counted(&f::LEADER, leader)?;
        to.counted(&f::WEBHOOK_REQUESTS, webhook_requests)?;
        to.counted(&f::WEBHOOK_ALERTS, webhook_alerts)?;
        to.counted(&f::ALERTMANAGER_POLLS, pulls)?;
        let arrivals = self.arrivals();
        let arrivals = arrivals.map(|(source, at)| ([source.as_str()], at.as_second()));
        to.gauges(&f::ALERT_LAST_RECEIVED, arrivals)?;
        to.counted(&f::STEPS, steps)?;
        to.counted(&f::STEP_DURATION, step_duration)?;
        to.counted(&f::WRITES, writes)?;
        to.counted(&f::WATCH_ERRORS, watch_errors)?;
        to.counted(&f::LOG_LINES, log_lines)?;
        to.counted(&f::DETECTION_DURATION, view_duration)
    }

    pub(super) fn encode_cleared(&self, to: &mut Encoder<'_>) -> fmt::Result {
        to.counted(&f::STUCK_DURATION, &self.stuck_duration)
    }

    fn webhook_counter(&self, code: String) -> Counter {
        self.webhook_requests
            .get_or_create_owned(&f::WEBHOOK_REQUESTS.series([code]))
    }

    fn pull_counter(&self, ok: bool) -> Counter {
        let outcome = if ok { "ok" } else { "failed" };
        self.pulls
            .get_or_create_owned(&f::ALERTMANAGER_POLLS.series([outcome]))
    }

    fn step_counter(&self, step: StepName, outcome: StepOutcome) -> Counter {
        self.steps
            .get_or_create_owned(&f::STEPS.series([step.as_str(), outcome.as_str()]))
    }

    fn stuck_durations(&self, finding: &'static str) -> Histogram {
        self.stuck_duration
            .get_or_create_owned(&f::STUCK_DURATION.series([finding]))
    }

    fn watch_counter(&self, kind: Kind) -> Counter {
        self.watch_errors
            .get_or_create_owned(&f::WATCH_ERRORS.series([kind.as_str()]))
    }
}

impl AlertOutcome {
    /// The outcome as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Joined => "joined",
            Self::Ignored => "ignored",
            Self::Test => "test",
            Self::OtherCluster => "other_cluster",
            Self::Refused => "refused",
        }
    }
}

impl AlertSource {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Poll];

    /// The way as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poll => "poll",
        }
    }
}

impl StepOutcome {
    /// The outcome as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}
