//! Stuck operations and the locks they wait for, each counted once. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::api::{LockKey, ObjectKey, ObjectKind, SharedStr};
use crate::findings::{Finding, FindingReason};
use crate::state::view::View;
use crate::text::humanize;

/// VolSync's populator fills a claim by way of another one of this prefix.
const PRIME: &str = "vs-prime-";

/// One lock, and the operations that wait for it.
#[derive(Debug)]
pub(super) struct LockedBy<'v> {
    pub key: &'v LockKey,
    pub lock: &'v Finding,
    /// Claims and snapshots, longest stuck first; empty if the waiting object is no finding itself.
    pub waiting: Vec<&'v Finding>,
}

/// Stuck operations of one driver.
#[derive(Debug, Default)]
pub(super) struct AtDriver<'v> {
    /// Locks, oldest first.
    pub locks: Vec<LockedBy<'v>>,
    /// Operations that wait for no known lock, longest stuck first.
    pub unlocked: Vec<&'v Finding>,
}

/// Kind of a stuck operation, in the order they are listed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Operation {
    Restore,
    Volume,
    Backup,
    Snapshot,
    Deletion,
}

impl Operation {
    /// The operation that a finding is about; `None` for sources and locks, which are no operations.
    pub fn of(finding: &Finding) -> Option<Self> {
        let leads_to = |kind| finding.chain.iter().any(|object| object.kind == kind);
        match &finding.what {
            FindingReason::PendingClaim(_) => {
                let is_prime = |object: &ObjectKey| object.name.starts_with(PRIME);
                let restored = finding.restores.is_some()
                    || leads_to(ObjectKind::VolumeSnapshot)
                    || finding.chain.iter().any(is_prime);
                Some(if restored {
                    Self::Restore
                } else {
                    Self::Volume
                })
            }
            FindingReason::FailedSnapshot(_) => {
                let of_volsync = leads_to(ObjectKind::ReplicationSource);
                Some(if of_volsync {
                    Self::Backup
                } else {
                    Self::Snapshot
                })
            }
            FindingReason::DeletionStuck(_) => Some(Self::Deletion),
            FindingReason::OrphanedSource(_)
            | FindingReason::OperationLock(_)
            | FindingReason::HeldSource => None,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Volume => "new volume",
            Self::Backup => "backup",
            Self::Snapshot => "snapshot",
            Self::Deletion => "deletion",
        }
    }
}

/// Locks that one object is listed with, the oldest ones: whoever forges Events can name any number for a claim.
pub(super) const LOCKS_OF_AN_OBJECT: usize = 10;

/// Everything stuck, by driver. An operation that waits for several locks is listed with each.
pub(super) fn by_driver(view: &View) -> BTreeMap<Option<&SharedStr>, AtDriver<'_>> {
    let mut locks: Vec<LockedBy<'_>> = view
        .stuck()
        .filter_map(|lock| match &lock.what {
            FindingReason::OperationLock(key) => Some(LockedBy {
                key,
                lock,
                waiting: Vec::new(),
            }),
            _ => None,
        })
        .collect();
    locks.sort_by_key(|it| it.lock.since);
    let mut by_object: HashMap<&ObjectKey, Vec<usize>> = HashMap::new();
    for (at, locked) in locks.iter().enumerate() {
        if let Some(object) = &locked.lock.object {
            let of_object = by_object.entry(object).or_default();
            if of_object.len() < LOCKS_OF_AN_OBJECT {
                of_object.push(at);
            }
        }
    }
    let mut operations: Vec<&Finding> = view
        .stuck()
        .filter(|finding| Operation::of(finding).is_some())
        .collect();
    operations.sort_by_key(|finding| finding.since);
    let mut drivers: BTreeMap<Option<&SharedStr>, AtDriver<'_>> = BTreeMap::new();
    for finding in operations {
        let objects = finding.object.iter().chain(&finding.chain);
        let waits_for: Vec<usize> = objects
            .filter_map(|object| by_object.get(object))
            .flatten()
            .copied()
            .collect();
        for at in &waits_for {
            locks[*at].waiting.push(finding);
        }
        if waits_for.is_empty() {
            let driver = drivers.entry(finding.driver.as_ref()).or_default();
            driver.unlocked.push(finding);
        }
    }
    for locked in locks {
        let driver = drivers.entry(locked.lock.driver.as_ref()).or_default();
        driver.locks.push(locked);
    }
    drivers
}

/// Number of stuck objects, each once: a lock and what waits for it are one.
pub(super) fn stuck(view: &View) -> usize {
    let drivers = by_driver(view);
    let alone = drivers.values().flat_map(|it| &it.locks);
    let alone = alone.filter(|it| it.waiting.is_empty()).count();
    let is_lock = |finding: &&Finding| matches!(finding.what, FindingReason::OperationLock(_));
    view.stuck().filter(|finding| !is_lock(finding)).count() + alone
}

impl AtDriver<'_> {
    /// `9 operations wait on 9 locks of rbd: 4 restores, 5 backups`.
    pub fn summary(&self, driver: &str) -> Option<String> {
        let mut distinct = HashSet::new();
        let mut kinds: BTreeMap<Operation, usize> = BTreeMap::new();
        let mut others = 0;
        for locked in &self.locks {
            for finding in &locked.waiting {
                // Findings are compared by their place in the view.
                if distinct.insert(std::ptr::from_ref::<Finding>(finding))
                    && let Some(operation) = Operation::of(finding)
                {
                    *kinds.entry(operation).or_default() += 1;
                }
            }
            others += usize::from(locked.waiting.is_empty());
        }
        if self.locks.is_empty() {
            return None;
        }
        let waiting = distinct.len() + others;
        let kinds = kinds.into_iter();
        let mut parts: Vec<_> = kinds
            .map(|(kind, number)| humanize::count(number, kind.noun()))
            .collect();
        if others > 0 {
            parts.push(format!("{others} other"));
        }
        Some(format!(
            "{} {} on {} of {driver}: {}",
            humanize::count(waiting, "operation"),
            if waiting == 1 { "waits" } else { "wait" },
            humanize::count(self.locks.len(), "lock"),
            parts.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{ClaimReason, DeletionReason, SnapshotReason};
    use crate::fixture;
    use rstest::rstest;

    const RBD: &str = "rook-ceph.rbd.csi.ceph.com";

    fn finding(what: FindingReason, object: &ObjectKey, chain: &[ObjectKey]) -> Finding {
        Finding {
            what,
            object: Some(object.clone()),
            chain: chain.to_vec(),
            ..fixture::jammed().findings[1].clone()
        }
    }

    fn key(kind: ObjectKind, name: &str) -> ObjectKey {
        fixture::object(kind, "media", name)
    }

    fn lock(id: &str, object: &ObjectKey) -> Finding {
        finding(
            FindingReason::OperationLock(LockKey(id.into())),
            object,
            &[],
        )
    }

    fn view(findings: Vec<Finding>) -> View {
        View {
            findings,
            ..fixture::healthy()
        }
    }

    fn summary(view: &View) -> Option<String> {
        by_driver(view)[&Some(&RBD.into())].summary("rbd")
    }

    const CLAIM: FindingReason = FindingReason::PendingClaim(ClaimReason::OperationLock);
    const SNAPSHOT: FindingReason = FindingReason::FailedSnapshot(SnapshotReason::OperationLock);
    const DELETION: FindingReason = FindingReason::DeletionStuck(DeletionReason::OperationLock);

    #[rstest]
    #[case(CLAIM, None, Some(Operation::Volume))]
    #[case(CLAIM, Some((ObjectKind::VolumeSnapshot, "image")), Some(Operation::Restore))]
    #[case(CLAIM, Some((ObjectKind::PersistentVolumeClaim, "vs-prime-4e1c")), Some(Operation::Restore))]
    #[case(SNAPSHOT, Some((ObjectKind::ReplicationSource, "sonarr")), Some(Operation::Backup))]
    #[case(SNAPSHOT, None, Some(Operation::Snapshot))]
    #[case(DELETION, None, Some(Operation::Deletion))]
    #[case(FindingReason::HeldSource, None, None)]
    fn operation_follows_from_kind_and_chain(
        #[case] what: FindingReason,
        #[case] chain: Option<(ObjectKind, &str)>,
        #[case] wanted: Option<Operation>,
    ) {
        let chain: Vec<_> = chain
            .map(|(kind, name)| key(kind, name))
            .into_iter()
            .collect();
        let object = key(ObjectKind::PersistentVolumeClaim, "sonarr");
        assert_eq!(Operation::of(&finding(what, &object, &chain)), wanted);
    }

    #[test]
    fn each_operation_is_counted_once_however_many_locks_it_waits_for() {
        let claim = key(ObjectKind::PersistentVolumeClaim, "radarr");
        let image = key(ObjectKind::VolumeSnapshot, "image");
        let other = key(ObjectKind::VolumeSnapshot, "volsync-sonarr-src");
        let source = key(ObjectKind::ReplicationSource, "sonarr");
        let view = view(vec![
            // A restore behind its own lock and that of its snapshot.
            finding(CLAIM, &claim, std::slice::from_ref(&image)),
            lock("pvc-1", &claim),
            lock("snapshot-2", &image),
            finding(SNAPSHOT, &other, &[source]),
            lock("snapshot-3", &other),
            // The object that waits for this one is no finding.
            lock("snapshot-4", &key(ObjectKind::VolumeSnapshot, "unknown")),
        ]);
        assert_eq!(
            summary(&view).unwrap(),
            "3 operations wait on 4 locks of rbd: 1 restore, 1 backup, 1 other"
        );
        assert_eq!(stuck(&view), 3);
    }

    #[test]
    fn operation_without_a_lock_is_listed_with_its_driver() {
        let claim = key(ObjectKind::PersistentVolumeClaim, "radarr");
        let view = view(vec![finding(CLAIM, &claim, &[])]);
        let drivers = by_driver(&view);
        assert_eq!(drivers[&Some(&RBD.into())].unlocked.len(), 1);
        assert_eq!(summary(&view), None);
        assert_eq!(stuck(&view), 1);
    }

    /// A tenant can forge Events with any number of ids for one claim.
    #[test]
    fn forged_locks_of_one_object_are_bounded() {
        let claim = key(ObjectKind::PersistentVolumeClaim, "sonarr");
        let mut findings: Vec<_> = (0..100).map(|n| lock(&format!("x{n}"), &claim)).collect();
        findings.push(finding(CLAIM, &claim, &[]));
        let view = view(findings);
        let driver = SharedStr::from(RBD);
        let locks = &by_driver(&view)[&Some(&driver)].locks;
        let waiting: usize = locks.iter().map(|it| it.waiting.len()).sum();
        assert_eq!((locks.len(), waiting), (100, LOCKS_OF_AN_OBJECT));
    }
}
