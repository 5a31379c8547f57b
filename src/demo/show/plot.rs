//! The scenarios, and when each is over.

use std::net::SocketAddr;
use std::sync::Arc;

use super::NAMESPACE;
use crate::api::remediation::{Phase, Remediation};
use crate::config::{Config, Duration, Mode};
use crate::demo::scenario::Outage;
use crate::demo::world::Layout;

/// A scenario.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Plot {
    /// The playbook's jam, healed
    #[default]
    Jam,
    /// The same where an operator owns the provisioner and reverts a rollout
    Operator,
    /// Sources of deleted claims, which are deleted once a person has approved
    Orphans,
    /// The playbook's jam, healed once a person has approved
    Approval,
    /// Ceph stays sick: nothing helps, everything is undone, and the circuit breaker trips
    SickCeph,
    /// The playbook's jam stays until you plan, run and approve, from another terminal
    ByHand,
}

impl Plot {
    pub(super) fn layout(self) -> Layout {
        match self {
            Self::Operator => Layout::OperatorManaged,
            _ => Layout::Classic,
        }
    }

    pub(super) fn outage(self) -> Outage {
        match self {
            Self::SickCeph => Outage::Lasting,
            _ => Outage::Over,
        }
    }

    /// Name of the alert that fires.
    pub(super) fn alertname(self) -> &'static str {
        match self {
            Self::Orphans | Self::ByHand => "LocksmithSourceOrphaned",
            _ => "LocksmithOperationLocked",
        }
    }

    /// Whether its alert fires again after a failed run.
    pub(super) fn alert_repeats(self) -> bool {
        self == Self::SickCeph
    }

    /// The kind of finding for which it fires.
    pub(super) fn finding(self) -> &'static str {
        match self {
            Self::Orphans | Self::ByHand => "orphaned_source",
            _ => "operation_lock",
        }
    }

    /// Whether it waits for commands of the user.
    pub(super) fn waits_for_you(self) -> bool {
        self == Self::ByHand
    }

    /// Whether a plan requires approval, which is given automatically.
    pub(super) fn asks_a_person(self) -> bool {
        matches!(self, Self::Orphans | Self::Approval)
    }

    /// The default order of events, in seconds instead of minutes.
    pub(super) fn config(self, speed: f64, listen: SocketAddr) -> Config {
        // Rounded to a tenth of a second, as these appear in the output.
        let ms = |milliseconds: u64| {
            let exact = std::time::Duration::from_millis(milliseconds).div_f64(speed);
            let tenths = u32::try_from(exact.as_millis().div_ceil(100)).unwrap_or(u32::MAX);
            Duration(std::time::Duration::from_millis(100) * tenths)
        };
        let mut config = Config {
            mode: Mode::Act,
            ..Config::default()
        };
        config.remediation.namespace = Some(NAMESPACE.into());
        config.server.listen = listen;
        config.detect.pending_after = ms(1000);
        config.detect.failed_after = ms(1000);
        config.detect.orphaned_after = ms(1000);
        config.detect.locked_after = Some(ms(1000));
        let steps = &mut config.steps;
        steps.suspend_sources.settle = ms(1500);
        steps.suspend_sources.deadline = if self.waits_for_you() {
            Duration::from_secs(30 * 60)
        } else {
            ms(120_000)
        };
        steps.delete_failed_snapshots.settle = ms(500);
        // Where the verification fails, the wait is short; otherwise, a loaded machine may need time.
        steps.verify_provisioning.within = match self {
            Self::SickCeph => ms(5000),
            _ => ms(60_000),
        };
        steps.resume_sources.batch = 5;
        steps.resume_sources.every = ms(500);
        let gates = &mut config.gates;
        gates.cooldown = ms(3000);
        gates.minimum_age = ms(1000);
        gates.progress_within = ms(1000);
        gates.breaker_after = 2;
        if let Some(playbook) = config.playbooks.0.get_mut("csi-operation-locks") {
            playbook.attempts = 1;
            playbook.approval = self == Self::Approval;
        }
        config
    }

    /// Whether everything has happened.
    pub(super) fn is_over(self, runs: &[Arc<Remediation>]) -> bool {
        runs.iter().any(|run| {
            let Some(status) = &run.status else {
                return false;
            };
            match self {
                Self::SickCeph => status
                    .gates
                    .iter()
                    .any(|gate| gate.gate == "breaker" && !gate.open),
                Self::ByHand => {
                    status.phase == Phase::Succeeded && run.spec.playbook == "orphaned-sources"
                }
                _ => status.phase == Phase::Succeeded,
            }
        })
    }
}
