//! Settings of the gates.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent, Window};

/// Conditions that must hold before a run acts.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Gates {
    /// Maximum number of snapshots and sources that one run may delete.
    pub max_deletions: u32,
    /// Maximum deletions of one run, as a share of all ReplicationSources; one deletion is always allowed.
    pub max_deletions_share: Percent,
    /// Time after a finished run before another run of the same cause may start.
    pub cooldown: Duration,
    /// Time a run may wait for its gates before it ends.
    pub give_up_after: Duration,
    /// Minimum age of the oldest finding.
    pub minimum_age: Duration,
    /// Time for which the driver must not have created a volume or a snapshot.
    pub progress_within: Duration,
    /// Limits on the number of runs.
    pub budgets: Budgets,
    /// Number of failed runs in a row after which no run starts until `locksmith reset`.
    pub breaker_after: u32,
    /// Maintenance windows in which runs may start; if empty, they may start at any time.
    pub windows: Vec<Window>,
    /// Accepted values of Ceph's health.
    pub ceph_health: Vec<String>,
    /// PromQL expressions by name; one that returns any series closes the gate.
    pub promql: BTreeMap<String, String>,
    /// Time for which an approval is valid.
    pub approval_lasts: Duration,
}

/// Limits on the number of runs.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Budgets {
    /// Time span in which runs are counted.
    pub within: Duration,
    /// Maximum number of runs in the whole cluster.
    #[schemars(range(min = 1))]
    pub per_cluster: u32,
    /// Maximum number of runs of one playbook.
    #[schemars(range(min = 1))]
    pub per_playbook: u32,
    /// Maximum number of runs that restart the same provisioner.
    #[schemars(range(min = 1))]
    pub per_object: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(24 * 3600),
            per_cluster: 8,
            per_playbook: 4,
            per_object: 3,
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            max_deletions: 50,
            max_deletions_share: Percent::new(50),
            cooldown: Duration::from_secs(30 * 60),
            give_up_after: Duration::from_secs(6 * 3600),
            minimum_age: Duration::from_secs(2 * 60),
            progress_within: Duration::from_secs(60),
            budgets: Budgets::default(),
            breaker_after: 3,
            windows: Vec::new(),
            ceph_health: vec!["HEALTH_OK".to_owned(), "HEALTH_WARN".to_owned()],
            promql: BTreeMap::new(),
            approval_lasts: Duration::from_secs(24 * 3600),
        }
    }
}
