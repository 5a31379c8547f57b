//! Request settings: each has a timeout, and none is repeated implicitly.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Client, Config};

use super::WriteError;
use super::request_log::logging;

/// Timeout of one request.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of a read from a connection: longer than a watch (60 s), and than a log without new lines (120 s).
const READ_TIMEOUT: Duration = Duration::from_secs(130);

/// A client for watches and logs. A node of the control plane that loses power closes no connection: without a limit, a watch
/// that starts on one hangs until TCP gives up, after about 15 minutes, and its kind passes for synced.
pub fn reading(config: &Config) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    config.read_timeout = Some(READ_TIMEOUT);
    logging(config)
}

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that accepts a request and never answers it.
    #[tokio::test]
    async fn read_without_an_answer_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(AtomicUsize::new(0));
        let bytes = received.clone();
        let silent = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            loop {
                let read = connection.read(&mut request).await.unwrap_or_default();
                bytes.fetch_add(read, Ordering::Relaxed);
            }
        });
        let mut config = Config::new(url.parse().unwrap());
        config.default_retry = false;
        let client = reading(&config).unwrap();
        let request = client.apiserver_version();
        tokio::pin!(request);
        let sent = async {
            while received.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = &mut request => panic!("{answer:?}"),
            () = sent => {}
        }
        tokio::time::pause();
        let answer = tokio::time::timeout(2 * READ_TIMEOUT, request).await;
        assert!(answer.expect("it ends by itself").is_err());
        silent.abort();
    }
}
