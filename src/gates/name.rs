//! Names of the gates, in records, metrics, configuration and docs.

use crate::api::remediation::GateRecord;

/// Name of a gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GateName {
    /// The mode is `act`.
    Mode,
    /// This replica leads.
    Leadership,
    /// The kill switch is not set.
    KillSwitch,
    /// Every input is observed, and recent.
    Freshness,
    /// The policy that enforces holds is in force.
    HoldPolicy,
    /// The findings confirm the alert.
    Confirmed,
    /// The findings are old enough.
    MinimumAge,
    /// The driver makes no progress by itself.
    Progress,
    /// A snapshotter runs.
    Snapshotter,
    /// Ceph is healthy.
    CephHealth,
    /// No configured query returns a series.
    Promql,
    /// No other run for the driver is running.
    OneRun,
    /// The cooldown of the cause has passed.
    Cooldown,
    /// The budgets are not exhausted.
    Budget,
    /// The circuit breaker has not tripped.
    Breaker,
    /// It is within a maintenance window.
    Window,
    /// The plan deletes few enough objects.
    BlastRadius,
    /// A person has approved the plan, if required.
    Approval,
}

impl GateName {
    /// The name as used in records, metric labels and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Leadership => "leadership",
            Self::KillSwitch => "killSwitch",
            Self::Freshness => "freshness",
            Self::HoldPolicy => "holdPolicy",
            Self::Confirmed => "confirmed",
            Self::MinimumAge => "minimumAge",
            Self::Progress => "progress",
            Self::Snapshotter => "snapshotter",
            Self::CephHealth => "cephHealth",
            Self::Promql => "promql",
            Self::OneRun => "oneRun",
            Self::Cooldown => "cooldown",
            Self::Budget => "budget",
            Self::Breaker => "breaker",
            Self::Window => "window",
            Self::BlastRadius => "blastRadius",
            Self::Approval => "approval",
        }
    }

    /// Whether `record` belongs to this gate. Records have the name as text, so that one of an unknown gate can still be
    /// read.
    pub fn is_of(self, record: &GateRecord) -> bool {
        record.gate == self.as_str()
    }
}
