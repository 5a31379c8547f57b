//! Records the history of this process from the views it publishes.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::history::History;
use super::view::View;

/// The history of this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<RwLock<History>>);

impl Recorder {
    /// The history so far.
    pub fn history(&self) -> History {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Records each view until no more are published.
    pub async fn follow(self, mut views: watch::Receiver<Arc<View>>) {
        while views.changed().await.is_ok() {
            let view = views.borrow_and_update().clone();
            let mut history = self.0.write().unwrap_or_else(PoisonError::into_inner);
            history.record(&view);
        }
    }
}
