//! Amount of stuck storage: of findings about the same volume, only one is counted. Pure.

use std::collections::HashSet;

use crate::api::Uid;
use crate::findings::{Finding, FindingReason};

/// The findings about something stuck, without those whose storage another one counts already.
///
/// A claim, the snapshot it is restored from and the lock that blocks both are three findings about one volume; so are two
/// snapshots of one claim. The finding nearest to the user's claim is kept.
pub fn counted_once(findings: &[Finding]) -> Vec<&Finding> {
    let mut stuck: Vec<_> = findings
        .iter()
        .filter_map(|finding| Some((rank(&finding.what)?, finding)))
        .collect();
    stuck.sort_by_key(|(rank, _)| *rank);
    let mut seen: HashSet<&Uid> = HashSet::new();
    stuck
        .into_iter()
        .map(|(_, finding)| finding)
        .filter(|finding| {
            let known = objects(finding).any(|uid| seen.contains(uid));
            seen.extend(objects(finding));
            !known
        })
        .collect()
}

/// Sum of [`counted_once`], in bytes.
pub fn bytes(findings: &[Finding]) -> u64 {
    counted_once(findings)
        .iter()
        .fold(0, |sum, finding| sum.saturating_add(finding.bytes))
}

fn objects(finding: &Finding) -> impl Iterator<Item = &Uid> {
    finding
        .object
        .iter()
        .chain(&finding.chain)
        .map(|object| &object.uid)
}

/// Rank of a finding, nearest to the user's claim first; `None` if nothing is stuck.
fn rank(what: &FindingReason) -> Option<u8> {
    match what {
        FindingReason::PendingClaim(_) => Some(0),
        FindingReason::FailedSnapshot(_) => Some(1),
        FindingReason::DeletionStuck(_) => Some(2),
        FindingReason::OrphanedSource(_) => Some(3),
        FindingReason::OperationLock(_) => Some(4),
        FindingReason::HeldSource => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LockKey, ObjectKey, ObjectKind};
    use crate::findings::{ClaimReason, SnapshotReason};
    use crate::fixture;
    use crate::model::fixture::at;

    fn about(what: FindingReason, object: &ObjectKey, bytes: u64, chain: &[&ObjectKey]) -> Finding {
        Finding {
            what,
            object: Some(object.clone()),
            since: at(0),
            driver: None,
            class: None,
            bytes,
            restores: None,
            chain: chain.iter().map(|object| (*object).clone()).collect(),
            evidence: Vec::new(),
        }
    }

    fn lock() -> FindingReason {
        FindingReason::OperationLock(LockKey("x".into()))
    }

    fn failed() -> FindingReason {
        FindingReason::FailedSnapshot(SnapshotReason::OperationLock)
    }

    #[test]
    fn restore_snapshot_and_lock_count_as_one_volume() {
        let claim = fixture::object(ObjectKind::PersistentVolumeClaim, "media", "app");
        let prime = fixture::object(ObjectKind::PersistentVolumeClaim, "media", "vs-prime-1");
        let snapshot = fixture::object(ObjectKind::VolumeSnapshot, "media", "app-dst");
        let pending = FindingReason::PendingClaim(ClaimReason::SnapshotNotReady);
        let findings = [
            about(lock(), &snapshot, 7, &[]),
            about(lock(), &prime, 7, &[]),
            about(failed(), &snapshot, 7, &[]),
            about(pending, &claim, 8, &[&prime, &snapshot]),
        ];
        assert_eq!(bytes(&findings), 8);
    }

    #[test]
    fn snapshots_of_one_claim_count_as_one_volume() {
        let [one, two] = ["one", "two"]
            .map(|name| fixture::object(ObjectKind::PersistentVolumeClaim, "media", name));
        let [a, b] =
            ["a", "b"].map(|name| fixture::object(ObjectKind::VolumeSnapshot, "media", name));
        let of_one = about(failed(), &a, 5, &[&one]);
        assert_eq!(bytes(&[of_one.clone(), about(failed(), &b, 5, &[&one])]), 5);
        assert_eq!(bytes(&[of_one, about(failed(), &b, 3, &[&two])]), 8);
    }

    #[test]
    fn held_source_counts_no_stuck_storage() {
        let source = fixture::object(ObjectKind::ReplicationSource, "media", "app");
        assert_eq!(
            bytes(&[about(FindingReason::HeldSource, &source, 5, &[])]),
            0
        );
    }
}
