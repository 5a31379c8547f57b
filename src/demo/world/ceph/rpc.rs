//! A failed CSI call, with the wording of gRPC.

/// The gRPC codes used here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    Aborted,
    DeadlineExceeded,
    NotFound,
}

/// A failed call.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Status {
    /// Refused: another operation on `id` is running. For snapshot operations, the message has Volume ID, too.
    pub(super) fn locked(id: &str) -> Self {
        Self {
            code: Code::Aborted,
            message: format!("an operation with the given Volume ID {id} already exists"),
        }
    }

    /// The sidecar's timeout has passed.
    pub(super) fn timed_out() -> Self {
        Self {
            code: Code::DeadlineExceeded,
            message: "context deadline exceeded".to_owned(),
        }
    }

    /// The source volume or snapshot does not exist.
    pub(super) fn not_found(kind: &str, id: &str) -> Self {
        Self {
            code: Code::NotFound,
            message: format!("source {kind} ID {id} not found"),
        }
    }

    /// Whether the operation is certainly no longer running (external-snapshotter's `isCSIFinalError`).
    pub(crate) fn is_final(&self) -> bool {
        match self.code {
            Code::Aborted | Code::DeadlineExceeded => false,
            Code::NotFound => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_the_wording_of_ceph_csi() {
        let status = Status::locked("snapshot-0b4c");
        assert_eq!(
            status.to_string(),
            "rpc error: code = Aborted desc = an operation with the given Volume ID snapshot-0b4c already exists"
        );
        assert!(!status.is_final());
    }

    #[test]
    fn timeout_is_not_final() {
        let status = Status::timed_out();
        assert_eq!(
            status.to_string(),
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        );
        assert!(!status.is_final());
        assert!(Status::not_found("Volume", "x").is_final());
    }
}
