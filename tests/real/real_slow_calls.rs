//! Calls that hang among calls that are only slow, with the real sidecars and Rook's timings.
//!
//! Each trial is a driver of its own, with a provisioner and a snapshotter of one replica. Its calls begin within a minute. A slow
//! call lasts 10 s to 10 min, with the same chance for each order of magnitude; the driver refuses every further attempt until
//! then. src/findings/tests/slow_calls.rs simulates the same. The test mostly waits; with `LOCKSMITH_TRIALS=33`, it runs as many
//! trials of each kind, to the end of their slow calls. Asserted, with the default configuration:
//! 1. five to ten calls that hang are found earlier than one;
//! 2. among up to ten slow calls, they are found, and one of the first locks is of a call that hangs;
//! 3. up to ten slow calls alone are no lock before a call that hangs alone would be one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use locksmith::demo::scenario::App;
use serde_json::{Value, json};

use crate::actors::{CLAIM, Person, bound};
use crate::daemon::Daemon;
use crate::layout::{Layout, Pace};
use crate::render;
use crate::stack::Stack;
use crate::testbed::figure;

/// Trials of each kind, unless the environment sets another number.
const TRIALS: usize = 1;

/// Time within which the calls of a trial begin.
const BEGIN_WITHIN: f64 = 60.0;

/// Time after which a call that hangs alone is found: the sidecars' timeout, and 5 minutes of refusals.
const ALONE: SignedDuration = SignedDuration::from_secs(150 + 300);

/// Time from the start of all trials to the end of the slowest call.
const END: Duration = Duration::from_secs(60 + 600);

/// Interval of reading the findings.
const POLL: Duration = Duration::from_secs(1);

/// A call for a snapshot or for a claim.
struct Call {
    name: String,
    is_snapshot: bool,
    begins: Duration,
    /// `None` if it hangs.
    lasts: Option<Duration>,
}

/// Which calls of a trial hang.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Hung,
    Mixed,
    Slow,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [
        (Self::Hung, "5 to 10 calls that hang"),
        (
            Self::Mixed,
            "5 to 10 calls that hang among up to 10 slow ones",
        ),
        (Self::Slow, "1 to 10 slow calls"),
    ];
}

/// A driver with its calls, in a namespace of its own.
struct Trial {
    namespace: String,
    driver: &'static str,
    kind: Kind,
    calls: Vec<Call>,
}

impl Trial {
    /// Always the same for a number.
    fn new(number: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(number as u64);
        let (kind, _) = Kind::ALL[number % 3];
        let hung = random.usize(5..=10);
        let (hung, slow) = match kind {
            Kind::Hung => (hung, 0),
            Kind::Mixed => (hung, random.usize(0..=10)),
            Kind::Slow => (0, random.usize(1..=10)),
        };
        let calls = (0..hung + slow).map(|number| {
            let begins = random.f64() * BEGIN_WITHIN;
            let lasts = 10.0 * 60.0_f64.powf(random.f64());
            Call {
                name: format!("app-{number}"),
                is_snapshot: number.is_multiple_of(2),
                begins: Duration::from_secs_f64(begins),
                lasts: (number >= hung).then(|| Duration::from_secs_f64(lasts)),
            }
        });
        Self {
            namespace: format!("trial-{number}"),
            // The container of the driver's log is known for names that end like this.
            driver: Box::leak(format!("trial-{number}.rbd.csi.ceph.com").into_boxed_str()),
            kind,
            calls: calls.collect(),
        }
    }

    /// Names of the objects whose calls hang.
    fn hung(&self) -> BTreeSet<&str> {
        let hung = self.calls.iter().filter(|call| call.lasts.is_none());
        hung.map(|call| call.name.as_str()).collect()
    }

    fn layout(&self) -> Layout {
        Layout {
            driver: self.driver,
            name: Box::leak(format!("{}-provisioner", self.namespace).into_boxed_str()),
            ..Layout::CLASSIC_V5
        }
    }

    fn rules(&self) -> impl Iterator<Item = Value> {
        self.calls.iter().map(|call| {
            let (method, object) = if call.is_snapshot {
                ("CreateSnapshot", "snapshot")
            } else {
                ("CreateVolume", "pvc")
            };
            let action = match call.lasts {
                None => json!("hang"),
                Some(lasts) => json!({"delay": format!("{}ms", lasts.as_millis())}),
            };
            json!({
                "id": format!("{}.{}", self.namespace, call.name),
                "method": method,
                object: call.name,
                "namespace": self.namespace,
                "action": action,
                "times": 1,
            })
        })
    }

    /// Creates the namespace, and the claim of which snapshots are made.
    async fn prepare(&self, stack: &Stack) -> Person {
        let person = Person::new(stack.client(), &self.namespace).await;
        let data = App::new(&self.namespace, "data").class(self.driver);
        person.claim(&data.claim()).await;
        person.until(CLAIM, "data", bound).await;
        person
    }

    async fn begin(&self, person: &Person) {
        let calls = self.calls.iter().map(async |call| {
            tokio::time::sleep(call.begins).await;
            if call.is_snapshot {
                person.snapshot_of_class(&call.name, self.driver).await;
            } else {
                let app = App::new(&self.namespace, &call.name).class(self.driver);
                person.claim(&app.claim()).await;
            }
        });
        join_all(calls).await;
    }
}

/// First locks of a driver.
struct FirstLocks {
    at: Timestamp,
    objects: BTreeSet<String>,
}

/// Reads the drivers' first locks until `enough` accepts them.
async fn observe(
    daemon: &Daemon,
    enough: impl Fn(&BTreeMap<String, FirstLocks>) -> bool,
) -> BTreeMap<String, FirstLocks> {
    let mut first: BTreeMap<String, FirstLocks> = BTreeMap::new();
    while !enough(&first) {
        let (code, findings) = daemon.get("/api/v1/findings").await;
        assert_eq!(code, 200, "{findings}");
        let now = Timestamp::now();
        let findings: Vec<Value> = serde_json::from_str(&findings).unwrap();
        let locks = findings
            .iter()
            .filter(|one| one["finding"] == "operation_lock");
        for lock in locks {
            let driver = lock["driver"].as_str().unwrap().to_owned();
            let locks = first.entry(driver).or_insert_with(|| FirstLocks {
                at: now,
                objects: BTreeSet::new(),
            });
            if locks.at == now {
                let name = lock["object"]["name"].as_str();
                locks.objects.extend(name.map(str::to_owned));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    first
}

/// Time from the first call of a trial to its first lock; if some calls hang, from the first that does.
fn after(stack: &Stack, trial: &Trial, locks: &FirstLocks) -> SignedDuration {
    let prefix = format!("{}.", trial.namespace);
    let event = if trial.kind == Kind::Slow {
        "delay"
    } else {
        "hang"
    };
    let calls = stack.ceph.calls();
    let mut calls = calls
        .iter()
        .filter(|call| call.event == event && call.rule.starts_with(&prefix));
    locks.at.duration_since(calls.next().expect("a call").time)
}

/// First locks of the trials of one kind.
#[derive(Default)]
struct Outcome {
    trials: usize,
    /// Sorted.
    found: Vec<SignedDuration>,
    /// Trials in which no lock is of a call that hangs.
    slow_alone: usize,
}

impl Outcome {
    fn median(&self) -> Option<SignedDuration> {
        self.found.get(self.found.len() / 2).copied()
    }

    fn text(&self, name: &str) -> String {
        let (found, trials) = (self.found.len(), self.trials);
        let range = self.found.first().zip(self.median()).zip(self.found.last());
        let range = range.map_or_else(String::new, |((first, median), last)| {
            let [first, median, last] = [*first, median, *last].map(|it| it.as_secs());
            format!(" after {median} s ({first} to {last})")
        });
        format!("{name}: a lock in {found} of {trials}{range}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack, and ten minutes: ./tests/run"]
async fn calls_that_hang_are_found_among_slow_ones() {
    let of_each = std::env::var("LOCKSMITH_TRIALS").ok();
    let of_each = of_each.map(|number| number.parse().expect("LOCKSMITH_TRIALS is a number"));
    let trials: Vec<_> = (0..3 * of_each.unwrap_or(TRIALS)).map(Trial::new).collect();
    let stack = Stack::start(Layout::CLASSIC_V5, Pace::ROOK, BTreeSet::new()).await;
    let drivers = trials.iter().map(Trial::layout);
    join_all(drivers.map(|driver| stack.add_driver(driver, Pace::ROOK))).await;
    let people = join_all(trials.iter().map(|trial| trial.prepare(&stack))).await;
    let rules: Vec<_> = trials.iter().flat_map(Trial::rules).collect();
    stack.ceph.set_faults(&rules);
    let config = format!("remediation: {{namespace: {}}}\n", render::NAMESPACE);
    let daemon = stack.locksmith(&config).await;

    let begun = tokio::time::Instant::now();
    let enough = |first: &BTreeMap<String, FirstLocks>| {
        let mut with_hung = trials.iter().filter(|trial| trial.kind != Kind::Slow);
        let all_found = with_hung.all(|trial| first.contains_key(trial.driver));
        let is_long =
            begun.elapsed() > Duration::from_secs_f64(BEGIN_WITHIN) + ALONE.unsigned_abs();
        begun.elapsed() > END || (all_found && is_long && of_each.is_none())
    };
    let calls = trials.iter().zip(&people);
    let calls = join_all(calls.map(|(trial, person)| trial.begin(person)));
    let (_, first) = tokio::join!(calls, observe(&daemon, enough));

    let outcome = |(kind, name): (Kind, &str)| {
        let mut outcome = Outcome::default();
        for trial in trials.iter().filter(|trial| trial.kind == kind) {
            outcome.trials += 1;
            if let Some(locks) = first.get(trial.driver) {
                outcome.found.push(after(&stack, trial, locks));
                let (hung, mut names) = (trial.hung(), locks.objects.iter());
                outcome.slow_alone += usize::from(!names.any(|name| hung.contains(&**name)));
            }
        }
        outcome.found.sort();
        figure(&format!(
            "real sidecars with Rook's timings, {}",
            outcome.text(name)
        ));
        outcome
    };
    let [hung, mixed, slow] = Kind::ALL.map(outcome);
    let log = || daemon.log_text();
    assert_eq!(hung.found.len(), hung.trials, "{}", log());
    assert!(hung.median() < Some(ALONE * 3 / 4), "{}", log());
    assert_eq!(mixed.found.len(), mixed.trials, "{}", log());
    assert_eq!(mixed.slow_alone, 0, "{}", log());
    let early = slow.found.iter().filter(|after| **after < ALONE);
    assert_eq!(early.count(), 0, "{}", log());
}
