//! Request settings: each has a timeout, and none is repeated implicitly.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Client, Config};

use super::WriteError;
use super::request_log::logging;

/// Timeout of one request.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A client for writes. By default, kube repeats POST, PATCH and DELETE for minutes on 429 and 5xx. A write depends on what
/// was just read, so it is attempted once, and decided again.
pub fn writing(config: &Config) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    config.default_retry = false;
    logging(config)
}

/// Parameters of a create or replace with field manager `manager`.
pub(super) fn posting(manager: &str) -> PostParams {
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}

/// Whether an object was refused for its size: etcd accepts requests of 1.5 MiB (`--max-request-bytes`).
pub fn is_too_large(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    status.code == 413 || status.message.contains("request is too large")
}

/// Applies [`CALL_TIMEOUT`] to a request.
pub async fn bounded<T>(
    verb: &'static str,
    object: impl FnOnce() -> String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(WriteError::Api {
            verb,
            object: object(),
            error: Box::new(error),
        }),
        Err(_) => Err(WriteError::NoAnswer {
            verb,
            object: object(),
        }),
    }
}
