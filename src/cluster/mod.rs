//! All writes to a cluster.
//!
//! Before each write, the object is read again, uncached. It is skipped unless it still is the planned one, and the write
//! names the uid or resourceVersion just read, so that the API server refuses it after a concurrent change. The effect is
//! observed through the watch.

mod client;
mod events;
mod evidence;
pub mod hold;
pub mod leader;
mod live_state;
pub mod remediations;
mod request_log;
pub mod reviews;
pub mod rights;
pub mod write_budget;
mod writer;

use client::is_too_large;
pub use client::{CALL_TIMEOUT, bounded, reading, writing};
pub use events::{EventRecorder, EventType};
pub use live_state::read_live_state;
pub use request_log::logging;
pub use writer::{Tried, Writer};

use std::time::Duration;

use crate::text::error_chain;

/// Field manager of this program (`metadata.managedFields`), and its user agent.
pub const FIELD_MANAGER: &str = "locksmith";

/// The same for a person's command line.
pub const FIELD_MANAGER_CLI: &str = "locksmith-cli";

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server refused it, or could not be reached.
    #[error("failed to {verb} {object}: {}", brief(.error))]
    Api {
        /// The attempted action.
        verb: &'static str,
        /// Its object.
        object: String,
        /// The error of the client.
        error: Box<kube::Error>,
    },
    /// Another replica leads.
    #[error("not written: this replica does not lead")]
    NotLeader,
    /// The API server dropped a field of a record, so that later decisions would lack it.
    #[error(
        "the cluster's CRD of Remediations is older than this program and lacks {field}; run: locksmith crd -n NAMESPACE | kubectl apply --server-side -f -"
    )]
    OutdatedCrd {
        /// Path of the field.
        field: String,
    },
    /// The object no longer exists.
    #[error("{object} was deleted meanwhile")]
    Gone {
        /// The object of the write.
        object: String,
    },
    /// There was no response; the watch shows whether it was done.
    #[error(
        "failed to {verb} {object}: no answer within {}; the API server may have carried it out all the same",
        humantime::format_duration(CALL_TIMEOUT)
    )]
    NoAnswer {
        /// The attempted action.
        verb: &'static str,
        /// Its object.
        object: String,
    },
}

/// Upper limit of a pause that the API server requests, so that no answer can stop the daemon.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

impl WriteError {
    /// Pause before a retry that the API server requests. A 429 without one counts as a second: API priority and fairness requests
    /// its pause in a header, which the client drops.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Api { error, .. } = self else {
            return None;
        };
        let kube::Error::Api(status) = &**error else {
            return None;
        };
        let details = status.details.as_ref();
        let seconds = details.map_or(0, |details| details.retry_after_seconds);
        match (seconds, status.code) {
            (0, 429) => Some(Duration::from_secs(1)),
            (0, _) => None,
            (seconds, _) => Some(Duration::from_secs(seconds.into()).min(LONGEST_RETRY_AFTER)),
        }
    }

    /// Its class.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLeader => ErrorKind::NotLeader,
            Self::Gone { .. } => ErrorKind::Gone,
            Self::OutdatedCrd { .. } => ErrorKind::OutdatedCrd,
            Self::NoAnswer { .. } => ErrorKind::NoAnswer,
            Self::Api { error, .. } => match &**error {
                kube::Error::Api(status) if status.code == 409 => ErrorKind::Conflict,
                kube::Error::Api(status) if status.code == 403 => ErrorKind::Forbidden,
                kube::Error::Api(status) if status.code == 404 => ErrorKind::NotFound,
                kube::Error::Api(status) if status.code == 422 => ErrorKind::Invalid,
                error if is_too_large(error) => ErrorKind::TooLarge,
                kube::Error::Api(_) => ErrorKind::Refused,
                _ => ErrorKind::Unreachable,
            },
        }
    }
}

/// Classes of [`WriteError`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// Another replica leads.
    NotLeader,
    /// The object was deleted meanwhile.
    Gone,
    /// The served CRD drops a field.
    OutdatedCrd,
    /// No answer in time.
    NoAnswer,
    /// 409: the object was changed since it was read, or exists already.
    Conflict,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 422.
    Invalid,
    /// The object is larger than etcd accepts.
    TooLarge,
    /// Any other answer.
    Refused,
    /// The API server could not be reached.
    Unreachable,
}

impl ErrorKind {
    /// The class as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Gone => "gone",
            Self::OutdatedCrd => "outdated_crd",
            Self::NoAnswer => "no_answer",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An error in one short line: the API server's 422 contains the whole object, which must not be shown.
fn brief(error: &kube::Error) -> String {
    const LONGEST: usize = 200;
    let text = error_chain(error);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::requested(503, 5, Some(5))]
    #[case::too_long(429, 86_400, Some(60))]
    #[case::without_a_time(429, 0, Some(1))]
    #[case::another_error(500, 0, None)]
    fn pause_of_the_api_server_is_limited(
        #[case] code: u16,
        #[case] seconds: u32,
        #[case] expected: Option<u64>,
    ) {
        let status = json!({"code": code, "details": {"retryAfterSeconds": seconds}});
        let status: Status = serde_json::from_value(status).unwrap();
        let error = WriteError::Api {
            verb: "patch",
            object: String::new(),
            error: Box::new(kube::Error::Api(Box::new(status))),
        };
        assert_eq!(error.retry_after(), expected.map(Duration::from_secs));
    }
}
