//! Uncached reads: objects and log lines whose absence proves something.

use jiff::Timestamp;

use crate::api::{LockKey, SharedStr};
use crate::holds::policy::Proof;
use crate::model::records::Snapshot;

/// One uncached read of the cluster. A part that could not be read holds the error, and proves nothing.
#[derive(Clone, Debug)]
pub struct LiveState {
    /// When the reading began.
    pub at: Timestamp,
    /// Every VolumeSnapshot.
    pub snapshots: Result<Vec<Snapshot>, String>,
    /// Lock errors in the log tails of every running replica of the driver's provisioner; `None` if they were not read. There are
    /// none of a driver whose log container is not known.
    pub refusals: Option<Result<Vec<TailRefusal>, String>>,
    /// The answers to a probe of a hold; `None` where there was none.
    pub proof: Option<Result<Proof, String>>,
}

impl LiveState {
    /// The state with the answers to a probe alone.
    pub fn of_proof(at: Timestamp, proof: Result<Proof, String>) -> Self {
        Self {
            at,
            snapshots: Err("VolumeSnapshots were not read".to_owned()),
            refusals: None,
            proof: Some(proof),
        }
    }
}

/// A lock error in a log tail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TailRefusal {
    /// The pod.
    pub pod: SharedStr,
    /// The key that was locked.
    pub key: LockKey,
}
