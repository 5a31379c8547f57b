//! The only place that writes to a cluster: guarded intents in, nothing out but that they were tried.
//!
//! Before each write the object is read again, uncached. It is left alone unless it is still the one that was decided on, and
//! the write names the uid or resourceVersion just read, so that whatever comes between makes the API server refuse it.

mod client;
mod events;
mod evidence;
mod examine;
pub mod hold;
mod writer;

pub use client::{CALL_TIMEOUT, bounded, is_too_large, writing};
pub use events::Herald;
pub use examine::examine;
pub use writer::{Tried, Writer};

use crate::causes::causes;

/// Name under which this program's fields are kept (`metadata.managedFields`) and its requests logged.
pub const FIELD_MANAGER: &str = "locksmith";

/// Why a write was not made, other than that it was no longer wanted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server refused it, or could not be reached.
    #[error("failed to {verb} {object}: {}", brief(.source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// Another replica leads by now.
    #[error("not written: this replica does not lead")]
    NotLeader,
    /// The API server dropped a field of a record: what is done next would be decided on less than was recorded.
    #[error(
        "the cluster's CRD of Remediations is older than this program, and has no {field}: apply the output of `locksmith crd`"
    )]
    OutdatedCrd {
        /// Path of the field.
        field: String,
    },
    /// There is no such object any more.
    #[error("{object} was deleted meanwhile")]
    Gone {
        /// What was to be written to.
        object: String,
    },
    /// It was not answered; whether it was done is seen by looking.
    #[error(
        "failed to {verb} {object}: no answer within {}",
        humantime::format_duration(CALL_TIMEOUT)
    )]
    NoAnswer {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
    },
}

impl WriteError {
    /// A class of error; a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Gone { .. } => "gone",
            Self::OutdatedCrd { .. } => "outdated_crd",
            Self::NoAnswer { .. } => "no_answer",
            Self::Api { source, .. } => match &**source {
                kube::Error::Api(status) if status.code == 409 => "conflict",
                kube::Error::Api(status) if status.code == 403 => "forbidden",
                kube::Error::Api(status) if status.code == 404 => "not_found",
                kube::Error::Api(status) if status.code == 422 => "invalid",
                error if is_too_large(error) => "too_large",
                kube::Error::Api(_) => "refused",
                _ => "unreachable",
            },
        }
    }
}

/// An error in one short line: the API server's 422 embeds the whole object, which is nobody's business.
fn brief(error: &kube::Error) -> String {
    const LONGEST: usize = 200;
    let text = causes(error);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
