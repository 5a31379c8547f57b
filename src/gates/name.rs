//! Names of the gates, in records, metrics, configuration and docs.

use crate::api::remediation::GateRecord;

/// Names one gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GateName {
    /// The mode is `act`.
    Mode,
    /// This replica leads.
    Leadership,
    /// Nobody has stopped all runs.
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
    /// The configured query holds.
    Promql,
    /// No other run is under way on the driver.
    OneRun,
    /// The last run of the cause is long enough ago.
    Cooldown,
    /// The budgets are not spent.
    Budget,
    /// The circuit breaker is closed.
    Breaker,
    /// It is within a maintenance window.
    Window,
    /// The plan touches few enough objects.
    BlastRadius,
    /// A person approved the plan, where that is configured.
    Approval,
}

impl GateName {
    /// The name as records, metric labels and docs spell it.
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

    /// Whether `record` is of this gate. Records hold text, so that one of a gate that this build lacks is read all the same.
    pub fn is_of(self, record: &GateRecord) -> bool {
        record.gate == self.as_str()
    }
}
