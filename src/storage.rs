//! How much storage is stuck: findings in, those out that together count every volume once. Pure.

use std::collections::HashSet;

use crate::findings::{Finding, What};
use crate::model::Uid;

/// The stuck ones among `findings`, less those about storage another one counts already.
///
/// A claim, the snapshot it is restored from and the lock both wait for are three findings about one volume; so
/// are two snapshots of one claim. The finding nearest to the user's claim is kept.
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

/// Nearest to the user's claim first; `None` for what is not stuck.
fn rank(what: &What) -> Option<u8> {
    match what {
        What::PendingClaim(_) => Some(0),
        What::FailedSnapshot(_) => Some(1),
        What::OrphanedSource(_) => Some(2),
        What::OperationLock(_) => Some(3),
        What::HeldSource => None,
    }
}
