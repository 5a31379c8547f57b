//! Findings that have cleared between two views, and how long they lasted. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{LockKey, ObjectKey};
use crate::findings::{Finding, FindingReason};
use crate::state::view::View;

/// Identity of a finding, whatever its current reason.
type Id = (&'static str, Option<ObjectKey>, Option<LockKey>);

/// Uncleared findings with their start times.
#[derive(Debug, Default)]
pub struct Uncleared(BTreeMap<Id, Timestamp>);

impl Uncleared {
    /// The findings that are no longer in `view`: kind and duration of each. An incomplete view changes nothing, since an
    /// unobserved finding has not cleared.
    pub fn cleared(&mut self, view: &View) -> Vec<(&'static str, Duration)> {
        if !view.complete() {
            return Vec::new();
        }
        let mut uncleared = BTreeMap::new();
        for finding in view.stuck() {
            let id = id(finding);
            let since = self.0.remove(&id).unwrap_or(finding.since);
            uncleared.entry(id).or_insert(since);
        }
        let gone = std::mem::replace(&mut self.0, uncleared).into_iter();
        gone.map(|((kind, ..), since)| {
            let stood = view.at.duration_since(since);
            (kind, stood.try_into().unwrap_or_default())
        })
        .collect()
    }
}

fn id(finding: &Finding) -> Id {
    let key = match &finding.what {
        FindingReason::OperationLock(key) => Some(key.clone()),
        _ => None,
    };
    (finding.what.kind().as_str(), finding.object.clone(), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn cleared_finding_is_reported_once_with_its_duration() {
        let mut uncleared = Uncleared::default();
        assert_eq!(uncleared.cleared(&fixture::jammed()), []);
        let mut cleared = uncleared.cleared(&fixture::healthy());
        cleared.sort_unstable();
        let minutes = |minutes: u64| Duration::from_mins(minutes);
        let expected = [
            ("failed_snapshot", minutes(12)),
            ("failed_snapshot", minutes(95)),
            ("operation_lock", minutes(25)),
            ("operation_lock", minutes(30)),
            ("operation_lock", minutes(40)),
            ("orphaned_source", minutes(3 * 24 * 60)),
            ("pending_claim", minutes(42)),
        ];
        assert_eq!(cleared, expected);
        assert_eq!(uncleared.cleared(&fixture::healthy()), []);
    }

    #[test]
    fn finding_with_another_reason_is_the_same() {
        let mut uncleared = Uncleared::default();
        uncleared.cleared(&fixture::jammed());
        let mut view = fixture::jammed();
        for finding in &mut view.findings {
            if let FindingReason::PendingClaim(reason) = &mut finding.what {
                *reason = crate::findings::ClaimReason::Unknown;
                finding.since = view.at;
            }
        }
        assert_eq!(uncleared.cleared(&view), []);
        let cleared = uncleared.cleared(&fixture::healthy());
        assert!(cleared.contains(&("pending_claim", Duration::from_mins(42))));
    }

    #[test]
    fn unobserved_finding_has_not_cleared() {
        let mut uncleared = Uncleared::default();
        uncleared.cleared(&fixture::jammed());
        let mut blind = fixture::half_seen();
        blind.findings.clear();
        assert_eq!(uncleared.cleared(&blind), []);
        assert_eq!(uncleared.cleared(&fixture::healthy()).len(), 7);
    }
}
