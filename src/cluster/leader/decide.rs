//! Decides about leadership: the last observed Lease in, a [`Decision`] out. Pure.
//!
//! All times are from this process's monotonic clock, and never compared with those in the Lease: it has expired once it
//! was observed unchanged for its whole duration, as in client-go (`leaderelection.go`), so that clocks may differ by any
//! amount.

use std::time::{Duration, Instant};

/// Time after which an unrenewed Lease may be taken.
pub const LEASE: Duration = Duration::from_secs(15);
/// Time for which the leader acts without a renewal: shorter than [`LEASE`] by more than the timeout of a request.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two attempts.
pub const RETRY: Duration = Duration::from_secs(2);

/// The observed Lease, and the time since which it has been unchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// `spec.holderIdentity`; empty after a release.
    pub holder: String,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `spec.leaseTransitions`.
    pub transitions: i32,
    /// Time at which this version was first observed.
    pub since: Instant,
}

/// The next action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// There is no Lease: create it.
    Create,
    /// It is held by this process: renew exactly this version.
    Renew,
    /// It is released or expired: take exactly this version.
    Take,
    /// Another process holds it: read it again at this time.
    Wait(Instant),
}

/// The action of `me` at `now` for the observed Lease.
pub fn decide(seen: Option<&Seen>, me: &str, now: Instant) -> Decision {
    let Some(seen) = seen else {
        return Decision::Create;
    };
    let expires = seen.since + LEASE;
    if seen.holder == me {
        Decision::Renew
    } else if seen.holder.is_empty() || now >= expires {
        Decision::Take
    } else {
        Decision::Wait(expires.min(now + RETRY))
    }
}

/// Whether the Lease as read confirms `term` of `me`.
pub fn confirms(read: &Seen, me: &str, term: Term) -> bool {
    read.holder == me && read.transitions == term.number
}

/// Adds an observation: an unchanged version keeps the time of its first observation.
pub fn observe(known: Option<Seen>, read: Seen) -> Seen {
    match known {
        Some(known) if known.version == read.version => known,
        _ => read,
    }
}

/// A term of leadership. It expires by itself, so it must be checked before each use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Term {
    /// Number of the term (`spec.leaseTransitions`).
    pub number: i32,
    /// Time until which no other process can lead.
    pub valid_until: Instant,
}

impl Term {
    /// The term from a write that began at `asked`. It counts from then, not from the response, which may have been slow.
    pub fn from(asked: Instant, number: i32) -> Self {
        Self {
            number,
            valid_until: asked + RENEW_DEADLINE,
        }
    }

    /// Whether the term is still valid at `at`.
    pub fn holds(&self, at: Instant) -> bool {
        at < self.valid_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn seen(holder: &str, version: &str, since: Instant) -> Seen {
        Seen {
            holder: holder.to_owned(),
            version: version.to_owned(),
            transitions: 3,
            since,
        }
    }

    #[rstest]
    #[case::ours("me", 0, Decision::Renew)]
    #[case::ours_though_old("me", 60, Decision::Renew)]
    #[case::released("", 0, Decision::Take)]
    #[case::silent("other", 15, Decision::Take)]
    fn lease_state_decides_the_action(
        #[case] holder: &str,
        #[case] age: u64,
        #[case] expected: Decision,
    ) {
        let start = Instant::now();
        let now = start + Duration::from_secs(age);
        assert_eq!(decide(Some(&seen(holder, "1", start)), "me", now), expected);
    }

    #[rstest]
    #[case::it_is_the_same("me", 3, true)]
    #[case::another_leads("other", 4, false)]
    #[case::another_led_meanwhile("me", 5, false)]
    #[case::released("", 3, false)]
    fn lease_confirms_a_term(
        #[case] holder: &str,
        #[case] transitions: i32,
        #[case] expected: bool,
    ) {
        let now = Instant::now();
        let read = Seen {
            transitions,
            ..seen(holder, "9", now)
        };
        assert_eq!(confirms(&read, "me", Term::from(now, 3)), expected);
    }

    #[test]
    fn candidate_waits_at_most_for_the_lease_duration() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let other = seen("other", "1", start);
        assert_eq!(decide(Some(&other), "me", at(1)), Decision::Wait(at(3)));
        assert_eq!(decide(Some(&other), "me", at(14)), Decision::Wait(at(15)));
        assert_eq!(decide(None, "me", at(0)), Decision::Create);
    }

    #[test]
    fn only_a_new_version_restarts_the_wait() {
        let start = Instant::now();
        let later = start + Duration::from_secs(9);
        let known = seen("other", "1", start);
        assert_eq!(
            observe(Some(known.clone()), seen("other", "1", later)).since,
            start
        );
        assert_eq!(observe(Some(known), seen("other", "2", later)).since, later);
    }

    #[test]
    fn term_ends_before_the_lease_may_be_taken() {
        let asked = Instant::now();
        let term = Term::from(asked, 1);
        // Nobody can have observed the write before it began.
        assert!(!term.holds(asked + LEASE));
        assert!(term.holds(asked + Duration::from_millis(9_999)));
    }
}
