//! Receives alerts by Alertmanager's webhook and API, and creates Remediations.

pub mod cause;
pub mod existing_run;
mod payload;
mod poll;
mod receiver;
mod recorded_alerts;
pub mod test_alert;

pub use payload::{Alert, AlertStatus, Notification, PayloadError, parse};
pub use poll::Poller;
pub use receiver::AlertReceiver;
pub use test_alert::{TestAlertLog, TestAlerts};

/// Receiver of notifications.
pub trait ReceiveAlerts: Send + Sync + 'static {
    /// Accepts a notification; `Ok` once it is persisted.
    fn receive(
        &self,
        notification: Notification,
    ) -> impl Future<Output = Result<Accepted, Refused>> + Send;
}

/// Result of a notification.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    /// Names of the Remediations created for it, or joined by it.
    pub remediations: Vec<String>,
    /// Number of alerts that start nothing, test alerts included.
    pub ignored: usize,
    /// Number of alerts about another cluster.
    pub other_cluster: usize,
}

/// Why a notification is not accepted now; a retry can succeed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Another replica leads.
    #[error("this replica is not the leader")]
    NotLeader,
    /// The drivers of the cluster are not known yet.
    #[error("StorageClasses and VolumeSnapshotClasses have not been read yet")]
    NotSeen,
    /// The Remediation could not be written.
    #[error("failed to record the Remediation: {0}")]
    CannotPersist(String),
    /// Too many notifications are waiting.
    #[error("too many notifications are waiting")]
    Full,
}
