//! The Ceph cluster behind all drivers: performs operations on images, or lets them hang.
//!
//! A sick backend does not fail, it hangs: a librados call made while it is sick never returns, not even after it has
//! recovered. The locks of the caller remain until its process ends.

mod driver;
mod locks;
mod rpc;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

pub(super) use driver::{CreateVolume, Driver};
#[cfg(test)]
pub(super) use rpc::Code;
pub(super) use rpc::Status;

use super::logs::PodRef;

/// The backend. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Ceph(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None` while healthy.
    sick: Option<Scope>,
    images: BTreeMap<String, Image>,
    snapshots: BTreeMap<String, Snapshot>,
    processes: Vec<Weak<driver::Process>>,
}

/// Operations that hang in a sick backend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// All operations.
    All,
    /// Operations whose request names one of these: `pvc-<uid>`, `snapshot-<uid>` or a handle.
    Only(BTreeSet<String>),
}

impl Scope {
    fn contains(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }
}

/// A volume in the backend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    pub(super) handle: String,
    pub(super) bytes: i64,
}

/// A snapshot in the backend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub(super) handle: String,
    pub(super) bytes: i64,
    pub(super) created: Timestamp,
}

/// An id that a driver process holds locked.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HeldLock {
    /// Name of the driver's Pod.
    pub pod: String,
    /// The id: `pvc-<uid>`, `snapshot-<uid>` or a handle.
    pub id: String,
}

impl Ceph {
    /// Lets operations within `scope` hang from now on.
    pub fn sicken(&self, scope: Scope) {
        self.state().sick = Some(scope);
    }

    /// Lets new operations complete from now on. Hanging operations continue to hang.
    pub fn heal(&self) {
        self.state().sick = None;
    }

    /// Every lock of every running driver process, sorted.
    pub fn locks(&self) -> Vec<HeldLock> {
        let mut processes = self.state().processes.clone();
        processes.retain(|process| process.strong_count() > 0);
        let mut held: Vec<_> = processes
            .iter()
            .filter_map(Weak::upgrade)
            .flat_map(|process| process.held())
            .collect();
        held.sort();
        held
    }

    /// Registers a driver process in `pod`.
    fn register(&self, process: &Arc<driver::Process>) {
        let mut state = self.state();
        state.processes.retain(|process| process.strong_count() > 0);
        state.processes.push(Arc::downgrade(process));
    }

    /// Waits for the duration of the operation on `id`; forever if it hangs.
    async fn work(&self, id: &str, takes: Duration) {
        let hangs = self
            .state()
            .sick
            .as_ref()
            .is_some_and(|scope| scope.contains(id));
        if hangs {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(takes).await;
    }

    /// Idempotent by `name`, as the real one is by its omap journal.
    fn put_image(&self, name: &str, bytes: i64) -> Image {
        let handle = handle(name);
        self.state()
            .images
            .entry(handle.clone())
            .or_insert(Image { handle, bytes })
            .clone()
    }

    /// Idempotent by `name`; `None` if there is no image `source`.
    fn put_snapshot(&self, name: &str, source: &str) -> Option<Snapshot> {
        let handle = handle(name);
        let mut state = self.state();
        let bytes = state.images.get(source)?.bytes;
        let snapshot = Snapshot {
            handle: handle.clone(),
            bytes,
            created: Timestamp::now(),
        };
        Some(state.snapshots.entry(handle).or_insert(snapshot).clone())
    }

    fn remove_image(&self, handle: &str) {
        self.state().images.remove(handle);
    }

    fn remove_snapshot(&self, handle: &str) {
        self.state().snapshots.remove(handle);
    }

    fn has_snapshot(&self, handle: &str) -> bool {
        self.state().snapshots.contains_key(handle)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle in the format of ceph-csi: encoding version, length and name of the cluster id, pool, uuid.
fn handle(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    // A uuid has dashes before these bytes.
    let dashed = [4, 6, 8, 10];
    let mut handle = "0001-0009-rook-ceph-0000000000000001-".to_owned();
    for (index, byte) in digest.iter().take(16).enumerate() {
        let dash = if dashed.contains(&index) { "-" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(handle, "{dash}{byte:02x}");
    }
    handle
}

/// Configuration of a driver process.
#[derive(Clone, Debug)]
pub(super) struct DriverConfig {
    pub(super) pod: PodRef,
    pub(super) grpc_timeout: Duration,
    pub(super) volume_operation: Duration,
    pub(super) snapshot_operation: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handle_has_ceph_csis_format_and_depends_on_the_name() {
        let handle_of = handle("pvc-1");
        assert_eq!(
            handle_of.len(),
            "0001-0009-rook-ceph-0000000000000001-".len() + 36
        );
        assert_eq!(handle_of, handle("pvc-1"));
        assert_ne!(handle_of, handle("pvc-2"));
    }

    #[test]
    fn creating_an_image_is_idempotent() {
        let ceph = Ceph::default();
        let first = ceph.put_image("pvc-1", 1);
        assert_eq!(ceph.put_image("pvc-1", 2), first);
        assert_eq!(
            ceph.put_snapshot("snapshot-1", &first.handle)
                .map(|snapshot| snapshot.bytes),
            Some(1)
        );
        assert_eq!(ceph.put_snapshot("snapshot-2", "none"), None);
    }

    #[test]
    fn scope_selects_the_hanging_ids() {
        let only = Scope::Only(["pvc-1".to_owned()].into());
        assert!(only.contains("pvc-1") && !only.contains("pvc-2") && Scope::All.contains("pvc-2"));
    }
}
