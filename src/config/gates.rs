//! Settings of the gates.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Percent, Window};

/// What must be true before anything is done.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Gates {
    /// Most snapshots one run may delete, as a number.
    pub max_deletions: u32,
    /// Most snapshots one run may delete, as a share of the ReplicationSources there are; one is within any share.
    pub max_deletions_share: Percent,
    /// How long after a finished run of the same cause no other begins.
    pub cooldown: Duration,
    /// How long a run may wait for its gates before it ends.
    pub give_up_after: Duration,
    /// How long the oldest finding must have stood.
    pub minimum_age: Duration,
    /// How long the driver must not have created a volume or a snapshot.
    pub progress_within: Duration,
    /// How often runs may begin.
    pub budgets: Budgets,
    /// After how many failed runs in a row no other begins until a person resets the breaker.
    pub breaker_after: u32,
    /// When runs may begin; where empty, at any time.
    pub windows: Vec<Window>,
    /// What Ceph may say of its health.
    pub ceph_health: Vec<String>,
    /// Expressions by name; any that returns something closes the gate.
    pub promql: BTreeMap<String, String>,
    /// How long an approval counts.
    pub approval_lasts: Duration,
}

/// How often runs may begin.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Budgets {
    /// The span in which they are counted.
    pub within: Duration,
    /// Runs in the whole cluster.
    #[schemars(range(min = 1))]
    pub per_cluster: u32,
    /// Runs of one playbook.
    #[schemars(range(min = 1))]
    pub per_playbook: u32,
    /// Runs that restart the same provisioner.
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
