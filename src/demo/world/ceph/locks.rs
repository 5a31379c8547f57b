//! ceph-csi's `idlocker.go`: the set of ids with a running operation, in the memory of one process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The locked ids. Clones share the set.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Mutex<BTreeSet<String>>>);

/// Locks one id until dropped, when the operation has returned or its process has ended.
#[derive(Debug)]
pub(super) struct Held {
    locks: Locks,
    id: String,
}

impl Locks {
    /// Locks `id`; `None` if an operation on it is running.
    pub(super) fn try_acquire(&self, id: &str) -> Option<Held> {
        self.set().insert(id.to_owned()).then(|| Held {
            locks: self.clone(),
            id: id.to_owned(),
        })
    }

    /// The locked ids.
    pub(super) fn ids(&self) -> Vec<String> {
        self.set().iter().cloned().collect()
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.set().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_locked_once_until_released() {
        let locks = Locks::default();
        let held = locks.try_acquire("pvc-1").unwrap();
        assert!(locks.try_acquire("pvc-1").is_none());
        assert!(locks.try_acquire("pvc-2").is_some());
        assert_eq!(locks.ids(), ["pvc-1"]);
        drop(held);
        assert!(locks.try_acquire("pvc-1").is_some());
    }
}
