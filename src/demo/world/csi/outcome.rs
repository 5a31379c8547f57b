//! Outcome of one attempt to provision a volume.

use std::fmt;

use crate::ceph::Status;
use crate::config::ProvisionerMessages;

/// Why a volume was not provisioned in this attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The data source is not usable.
    #[error("error getting handle for DataSource Type VolumeSnapshot by Name {name}: {reason}")]
    Source {
        /// The VolumeSnapshot.
        name: String,
        /// The problem.
        reason: SourceProblem,
    },
    /// The driver returned an error, or no response.
    #[error(transparent)]
    Driver(#[from] Status),
    /// A request to the API server failed.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Why a VolumeSnapshot cannot be restored (`getSnapshotSource` of external-provisioner).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SourceProblem {
    /// It does not exist.
    Missing(String),
    /// No content is bound to it.
    NotBound(String),
    /// It is not ready to use.
    NotReady(String),
    /// It is being deleted, and no restore had started before.
    Deleted(String),
    /// Its content has no handle yet.
    NoHandle(String),
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(
                f,
                "error getting snapshot {name} from api server: \
                 volumesnapshots.snapshot.storage.k8s.io \"{name}\" not found"
            ),
            Self::NotBound(name) => write!(f, "snapshot {name} not bound"),
            Self::NotReady(name) => write!(f, "snapshot {name} is not Ready"),
            Self::Deleted(name) => write!(f, "snapshot {name} is being deleted"),
            Self::NoHandle(name) => write!(f, "snapshot handle {name} is not available"),
        }
    }
}

impl Failure {
    /// Whether the driver may still be working on it, so that the claim must be pursued even after its deletion; `None` if
    /// this attempt does not show it (the library's `ProvisioningNoChange`).
    pub(super) fn in_background(&self) -> Option<bool> {
        match self {
            Self::Driver(status) => Some(!status.is_final()),
            Self::Source { .. } | Self::Api(_) => None,
        }
    }

    /// The message of the `ProvisioningFailed` Event.
    pub(super) fn message(&self, wording: ProvisionerMessages, class: &str) -> String {
        match wording {
            ProvisionerMessages::Plain => self.to_string(),
            ProvisionerMessages::Prefixed => {
                format!("failed to provision volume with StorageClass \"{class}\": {self}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceph::Code;

    fn refused() -> Failure {
        let message = "an operation with the given Volume ID pvc-1 already exists".to_owned();
        Failure::Driver(Status {
            code: Code::Aborted,
            message,
        })
    }

    #[test]
    fn refusal_has_the_wording_of_the_sidecar_version() {
        let plain = "rpc error: code = Aborted desc = an operation with the given Volume ID pvc-1 already exists";
        assert_eq!(
            refused().message(ProvisionerMessages::Plain, "ceph-block"),
            plain
        );
        assert_eq!(
            refused().message(ProvisionerMessages::Prefixed, "ceph-block"),
            format!("failed to provision volume with StorageClass \"ceph-block\": {plain}")
        );
    }

    #[test]
    fn source_problem_has_the_wording_of_upstream() {
        let reason = SourceProblem::NotReady("prowlarr".into());
        let failure = Failure::Source {
            name: "prowlarr".into(),
            reason,
        };
        assert_eq!(
            failure.to_string(),
            "error getting handle for DataSource Type VolumeSnapshot by Name prowlarr: snapshot prowlarr is not Ready"
        );
        assert_eq!(
            SourceProblem::NotBound("a".into()).to_string(),
            "snapshot a not bound"
        );
        assert_eq!(
            SourceProblem::Deleted("a".into()).to_string(),
            "snapshot a is being deleted"
        );
        assert_eq!(
            SourceProblem::Missing("a".into()).to_string(),
            "error getting snapshot a from api server: volumesnapshots.snapshot.storage.k8s.io \"a\" not found"
        );
    }

    #[test]
    fn only_an_open_call_continues_in_the_background() {
        assert_eq!(refused().in_background(), Some(true));
        let gone = Failure::Driver(Status {
            code: Code::NotFound,
            message: String::new(),
        });
        assert_eq!(gone.in_background(), Some(false));
        let source = Failure::Source {
            name: "a".into(),
            reason: SourceProblem::NotReady("a".into()),
        };
        assert_eq!(source.in_background(), None);
    }
}
