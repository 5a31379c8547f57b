//! Reads request bodies, with limits on the size of each, on the size of all together, and on the time.
//!
//! A client decides how fast a body arrives. Incomplete bodies share memory, not webhook slots: a thousand clients that
//! send one byte each block no other.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::problem::Problem;
use super::webhook::{MAX_BODY, RETRY_AFTER_BUSY};

/// Maximum size of all bodies that are read at a time, in bytes: 64 of the largest.
const MAX_BODIES: usize = 64 * MAX_BODY;

/// Time limit of one body.
pub(super) const BODY_WITHIN: Duration = Duration::from_secs(5);

/// The memory shared by all bodies.
pub(super) struct Bodies(Semaphore);

impl Bodies {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(MAX_BODIES))
    }

    /// Reads a whole body within [`BODY_WITHIN`]. Its memory counts until the permit is dropped.
    pub(super) async fn read(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), Problem> {
        tokio::time::timeout(BODY_WITHIN, self.receive(body))
            .await
            .unwrap_or_else(|_| {
                Err(Problem::retryable(
                    "the body was not received in time",
                    RETRY_AFTER_BUSY,
                ))
            })
            .map_err(Problem::close)
    }

    async fn receive(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), Problem> {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut memory = self.memory(0)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                let broken = format!("the body cannot be read: {error}");
                Problem::new(StatusCode::BAD_REQUEST, broken)
            })?;
            if bytes.len() + chunk.len() > MAX_BODY {
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!(
                        "the body is larger than {MAX_BODY} bytes: set max_alerts in Alertmanager's webhook_config"
                    ),
                ));
            }
            memory.merge(self.memory(chunk.len())?);
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, memory))
    }

    fn memory(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Problem> {
        u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.0.try_acquire_many(bytes).ok())
            .ok_or_else(|| {
                Problem::retryable("too many bodies are being received", RETRY_AFTER_BUSY)
            })
    }
}
