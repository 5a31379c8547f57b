//! Alerts in, Remediations out: by Alertmanager's webhook, and read from its API.

pub mod cause;
mod payload;
mod poll;
mod receiver;

pub use payload::{Alert, AlertStatus, Notification, PayloadError, parse};
pub use poll::poll;
pub use receiver::AlertReceiver;

/// Takes notifications.
pub trait ReceiveAlerts: Send + Sync + 'static {
    /// Takes a notification; `Ok` once nothing that follows can lose it.
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
    /// How many of its alerts start nothing.
    pub ignored: usize,
    /// How many of its alerts are about another cluster.
    pub other_cluster: usize,
}

/// Why a notification is not accepted now; a retry can succeed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Another replica acts.
    #[error("this replica is not the leader")]
    NotLeader,
    /// The drivers of the alerts are not known yet.
    #[error("StorageClasses and VolumeSnapshotClasses have not been read yet")]
    NotSeen,
    /// The Remediation could not be written.
    #[error("failed to record the Remediation: {0}")]
    CannotPersist(String),
    /// Too many wait already.
    #[error("too many notifications are waiting")]
    Full,
}
