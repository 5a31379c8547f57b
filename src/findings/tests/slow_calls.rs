//! Calls that hang among calls that are only slow: how early a lock is found, and how often a slow call counts as one.
//!
//! The sidecars are simulated with Rook's settings: a call is given up after 150 s and continues inside the driver, which refuses
//! every further attempt for its key until it ends. Attempts follow after 1 s (snapshots) or 0.5 s (volumes), then after twice the
//! last pause, at most 300 s. A slow call lasts 10 s to 10 min, with the same chance for each order of magnitude. The time of a
//! snapshot is that at which its call began, as ceph-csi has it. `cargo test --lib slow_calls -- --nocapture` prints the figures
//! of deploy/docs/performance.md. Asserted:
//! 1. five calls or more that hang are found earlier than one, and never slow calls alone in their place;
//! 2. fewer are found as late as one;
//! 3. slow calls count as locks in hardly more trials than if every key were judged alone.

use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::csi::ErrorClass;
use crate::findings::{DetectionSettings, FindingReason, detect};
use crate::model::fixture::*;
use crate::model::records::{Claim, Snapshot};
use crate::model::{Change, Refusal};

/// Timeout of the sidecars, in seconds.
const TIMEOUT: f64 = 150.0;

/// Seconds after its beginning at which a call is found that hangs alone.
const ALONE: f64 = TIMEOUT + 300.0;

/// Seconds within which the calls of a trial begin.
const BEGIN_WITHIN: f64 = 60.0;

/// Seconds after which a trial ends; every slow call has ended.
const END: u32 = 700;

/// Number of trials.
const TRIALS: u64 = 100;

/// A call of a sidecar, for a snapshot or for a claim. Times are in seconds after the trial's start.
struct Call {
    number: usize,
    begins: f64,
    /// Infinite if it hangs.
    ends: f64,
}

fn time(seconds: f64) -> Timestamp {
    at(0) + SignedDuration::from_secs_f64(seconds)
}

impl Call {
    fn name(&self) -> String {
        format!("app-{}", self.number)
    }

    fn is_snapshot(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    fn hangs(&self) -> bool {
        self.ends.is_infinite()
    }

    /// Times of the further attempts, up to the one after its end.
    fn attempts(&self) -> Vec<f64> {
        let first = if self.is_snapshot() { 1.0_f64 } else { 0.5 };
        let pauses = std::iter::successors(Some(first), |pause| Some((pause * 2.0).min(300.0)));
        let mut attempts = Vec::new();
        let mut at = self.begins + TIMEOUT;
        for pause in pauses {
            at += pause;
            attempts.push(at);
            if at >= self.ends || at > f64::from(END) {
                break;
            }
        }
        attempts
    }

    /// Whether it is refused, as far as the cluster shows, for longer than a call that hangs alone.
    fn is_found_alone(&self) -> bool {
        let attempts = self.attempts();
        let refused = |at: &&f64| **at < self.ends;
        let last = if self.is_snapshot() {
            // A status remains until the attempt that succeeds.
            attempts.last()
        } else {
            attempts.iter().rev().find(refused)
        };
        self.ends - self.begins > TIMEOUT
            && attempts.first().is_some_and(|at| *at < self.ends)
            && last.is_some_and(|last| last - attempts[0] > 300.0)
    }

    /// The changes of the cluster that it makes.
    fn changes(&self) -> Vec<(f64, Change)> {
        if self.is_snapshot() {
            self.of_snapshot()
        } else {
            self.of_claim()
        }
    }

    fn of_snapshot(&self) -> Vec<(f64, Change)> {
        let name = self.name();
        let snapshot = || -> Snapshot {
            let snapshot = snapshot("media", &name, &name).created(time(self.begins));
            snapshot.unready()
        };
        let mut changes = vec![
            (self.begins, snapshot().into()),
            (
                self.begins,
                content(&snapshot()).created(time(self.begins)).into(),
            ),
        ];
        let succeeds = |at: f64| {
            let content = content(&snapshot()).handle(&name).taken(time(self.begins));
            let ready = Snapshot {
                ready: Some(true),
                ..snapshot()
            };
            [(at, content.into()), (at, ready.into())]
        };
        if self.ends <= self.begins + TIMEOUT {
            changes.extend(succeeds(self.ends));
            return changes;
        }
        let failed = |at: f64, class| {
            let mut content = content(&snapshot()).created(time(self.begins)).error(class);
            content.error.as_mut().unwrap().since = time(at);
            (at, content.into())
        };
        changes.push(failed(self.begins + TIMEOUT, ErrorClass::Timeout));
        let attempts = self.attempts();
        // The sidecar writes an identical message only once.
        if let Some(first) = attempts.first().filter(|at| **at < self.ends) {
            let key = key(&format!("snapshot-{}", snapshot().meta.uid));
            changes.push(failed(*first, ErrorClass::Locked(key)));
        }
        let end = attempts.last().filter(|at| **at >= self.ends);
        changes.extend(end.into_iter().flat_map(|at| succeeds(*at)));
        changes
    }

    fn of_claim(&self) -> Vec<(f64, Change)> {
        let name = self.name();
        let claim = || claim("media", &name).created(time(self.begins));
        let key = key(&format!("pvc-{}", claim().meta.uid));
        let mut changes: Vec<(f64, Change)> = vec![(self.begins, claim().pending().into())];
        let succeeds = |at: f64| {
            let volume = volume(&format!("pvc-{name}"), DRIVER, time(at));
            [(at, volume.into()), (at, Claim::into(claim()))]
        };
        if self.ends <= self.begins + TIMEOUT {
            changes.extend(succeeds(self.ends));
            return changes;
        }
        for attempt in self.attempts() {
            if attempt >= self.ends {
                changes.extend(succeeds(attempt));
                break;
            }
            let refusal = Refusal {
                driver: DRIVER.into(),
                key: key.clone(),
                witness: log_of(LEADER_UID),
                first: time(attempt),
                at: time(attempt),
                message: "refused".into(),
            };
            changes.push((attempt, Change::Refused(refusal)));
        }
        changes
    }
}

/// A driver with this many calls that hang and that are slow.
fn trial(seed: u64, hung: usize, slow: usize) -> Vec<Call> {
    let mut random = fastrand::Rng::with_seed(seed);
    let calls = (0..hung + slow).map(|number| {
        let begins = random.f64() * BEGIN_WITHIN;
        let lasts = 10.0 * 60.0_f64.powf(random.f64());
        Call {
            number,
            begins,
            ends: if number < hung {
                f64::INFINITY
            } else {
                begins + lasts
            },
        }
    });
    calls.collect()
}

fn slow(seed: u64, calls: usize) -> Vec<Call> {
    trial(seed, 0, calls)
}

/// The first locks that are found in a trial.
struct Found {
    /// Seconds after the first call that hangs began, or the first call if none hangs.
    after: f64,
    hung: usize,
    slow: usize,
}

fn first_locks(calls: &[Call], settings: &DetectionSettings) -> Option<Found> {
    let mut changes: Vec<_> = calls.iter().flat_map(Call::changes).collect();
    changes.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut changes = changes.into_iter().peekable();
    let mut world = World::rook();
    let hung: Vec<_> = calls
        .iter()
        .filter(|call| call.hangs())
        .map(Call::name)
        .collect();
    let first = calls.iter().filter(|call| call.hangs() || hung.is_empty());
    let first = first.map(|call| call.begins).fold(f64::INFINITY, f64::min);
    (0..END).step_by(5).find_map(|second| {
        let now = f64::from(second);
        while let Some((_, change)) = changes.next_if(|(at, _)| *at <= now) {
            world = std::mem::take(&mut world).with(change);
        }
        let found = detect(&world.0, settings, time(now));
        let locks = found.iter().filter_map(|finding| match finding.what {
            FindingReason::OperationLock(_) => finding.object.as_ref(),
            _ => None,
        });
        let (of_hung, of_slow): (Vec<_>, Vec<_>) =
            locks.partition(|object| hung.iter().any(|name| **name == *object.name));
        (of_hung.len() + of_slow.len() > 0).then_some(Found {
            after: now - first,
            hung: of_hung.len(),
            slow: of_slow.len(),
        })
    })
}

fn trials(hung: std::ops::Range<usize>, slow: std::ops::Range<usize>) -> Vec<Option<Found>> {
    let settings = DetectionSettings::default();
    let trials = (0..TRIALS).map(|seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let (hung, slow) = (random.usize(hung.clone()), random.usize(slow.clone()));
        first_locks(&trial(seed + 1_000, hung, slow), &settings)
    });
    trials.collect()
}

fn median(found: &[Option<Found>]) -> f64 {
    let mut after: Vec<_> = found.iter().flatten().map(|found| found.after).collect();
    after.sort_by(f64::total_cmp);
    after[after.len() / 2]
}

/// Prints a row: found in so many trials, how late, and how many of the keys were only slow.
fn print(name: &str, found: &[Option<Found>]) {
    let of: Vec<_> = found.iter().flatten().collect();
    let latest = of.iter().map(|found| found.after).fold(0.0, f64::max);
    let (hung, slow) = of.iter().fold((0, 0), |(hung, slow), found| {
        (hung + found.hung, slow + found.slow)
    });
    let wrong = of.iter().filter(|found| found.hung == 0).count();
    let median = if of.is_empty() {
        f64::NAN
    } else {
        median(found)
    };
    println!(
        "{name}: a lock in {} of {TRIALS} trials, after {median:.0} s, at most {latest:.0} s; {hung} keys hung, {slow} slow; without a \
         hung one {wrong}",
        of.len()
    );
}

#[rstest]
#[case::alone("5 to 10 calls that hang", 0..1)]
#[case::among_slow_ones("5 to 10 calls that hang, among up to 10 slow ones", 0..11)]
fn jam_is_found_early(#[case] name: &str, #[case] slow: std::ops::Range<usize>) {
    let found = trials(5..11, slow);
    print(name, &found);
    let blames_a_hung_one =
        |found: &Option<Found>| found.as_ref().is_some_and(|found| found.hung > 0);
    assert!(found.iter().all(blames_a_hung_one));
    assert!(median(&found) < 0.75 * ALONE);
}

#[test]
fn few_calls_that_hang_are_found_as_late_as_one() {
    let found = trials(1..5, 0..11);
    print("1 to 4 calls that hang, among up to 10 slow ones", &found);
    assert!(found.iter().all(Option::is_some));
    assert!(median(&found) > ALONE);
}

/// Slow storage: all calls take about the same time. No CephCluster reports it here.
fn slow_together(seed: u64, calls: usize) -> Vec<Call> {
    let mut random = fastrand::Rng::with_seed(seed);
    let lasts = 10.0 * 60.0_f64.powf(random.f64());
    let calls = (0..calls).map(|number| {
        let begins = random.f64() * BEGIN_WITHIN;
        Call {
            number,
            begins,
            ends: begins + lasts * (0.8 + 0.4 * random.f64()),
        }
    });
    calls.collect()
}

/// While it lasts, a single slow call looks like one that hangs. `more` trials have a lock only because several slow
/// calls seem to hang together.
#[rstest]
#[case::one(1, slow, 0)]
#[case::three(3, slow, 0)]
#[case::five(5, slow, 0)]
#[case::ten(10, slow, 0)]
#[case::twenty(20, slow, 3)]
#[case::slow_storage(10, slow_together, 8)]
fn slow_calls_are_rarely_a_jam(
    #[case] calls: usize,
    #[case] trial: fn(u64, usize) -> Vec<Call>,
    #[case] more: usize,
) {
    let settings = DetectionSettings::default();
    let trials = (0..TRIALS).map(|seed| {
        let calls = trial(seed, calls);
        let one_by_one = calls.iter().any(Call::is_found_alone);
        (first_locks(&calls, &settings), one_by_one)
    });
    let (found, one_by_one): (Vec<_>, Vec<_>) = trials.unzip();
    print(&format!("{calls} slow calls"), &found);
    let pairs = || {
        found
            .iter()
            .map(Option::is_some)
            .zip(one_by_one.iter().copied())
    };
    assert_eq!(
        pairs().filter(|(found, alone)| *found && !alone).count(),
        more
    );
    assert!(!pairs().any(|(found, alone)| !found && alone));
}
