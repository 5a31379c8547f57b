//! Objects written a moment ago, whose echo the watch has not shown yet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::ObjectKey;

/// Forgets by itself. Losing it costs a read of each object, and nothing else.
pub struct Recent {
    for_: Duration,
    at: HashMap<ObjectKey, Instant>,
    /// When what is too old was last forgotten.
    swept: Instant,
}

impl Recent {
    /// Remembers for so long.
    pub fn new(for_: Duration) -> Self {
        Self {
            for_,
            at: HashMap::new(),
            swept: Instant::now(),
        }
    }

    /// The object was written now.
    pub fn note(&mut self, object: ObjectKey) {
        // Not each time: a batch notes thousands.
        if self.swept.elapsed() >= self.for_ {
            self.at.retain(|_, at| at.elapsed() < self.for_);
            self.swept = Instant::now();
        }
        self.at.insert(object, Instant::now());
    }

    /// Whether it was not written lately.
    pub fn is_news(&self, object: &ObjectKey) -> bool {
        self.at
            .get(object)
            .is_none_or(|at| at.elapsed() >= self.for_)
    }
}
