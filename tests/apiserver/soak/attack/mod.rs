//! A tenant with every right in one namespace and none elsewhere runs every attack at once, for minutes, against the
//! program as installed. Set-up: a control plane with the snapshot controller, the classes of a driver, two replicas with
//! the rights of mode act, and a token at the webhook.
//!
//! Asserted at the end, each with its figure:
//! 1. The processes are those that were started, and none has panicked.
//! 2. No time without a new view was longer than [`BLIND`].
//! 3. Resident memory stayed below [`MEMORY`], also in the second replica, which had to list everything.
//! 4. Stuck objects in another namespace were in the metrics within [`LATE`] of their threshold.
//! 5. An alert with the token was accepted within [`LATE`], and its run evaluated.
//! 6. The tenant changed nothing in another namespace, and the program changed nothing at all: no gate was open.
//! 7. A scrape had at most [`SERIES`] additional series.
//!
//! `tests/soak --attack --minutes N --seed S` runs a long one, tests/run a short one.

mod neighbour;
mod network;
mod sampler;
mod tenant;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, CustomResourceExt, ResourceExt};
use locksmith::api::hold::SnapshotHold;
use locksmith::api::remediation::Remediation;
use locksmith::api::snapshot::VolumeSnapshotClass;
use locksmith::api::volsync::ReplicationSource;
use locksmith::demo::scenario;
use locksmith::demo::world::{IMMEDIATE_CLASS, SNAPSHOT_CLASS};
use serde_json::json;

use super::{audited, setting};
use crate::support::daemon::{Daemon, POLL, notification};
use crate::support::stage::{
    DRIVER, NAMESPACE, PATIENCE, Settings, install_policy, installed, named,
};
use crate::testbed::{Identity, Options, Testbed, figure};
use neighbour::Happened;
use network::Clients;
use sampler::{Sample, Sampler, gaps, starved, summary};
use tenant::{TENANT, Writers};

/// Duration of the short attack, in seconds.
const SHORT: u64 = 75;
/// Seed of the short attack.
const SEED: u64 = 19;
/// Longest permitted time without a new view while the daemon has a core, whatever the tenant does.
const BLIND: Duration = Duration::from_secs(2);
/// Memory limit of the container in deploy/base, in KiB.
const MEMORY: u64 = 256 * 1024;
/// Longest permitted delay while the daemon has a core: watch, look-ups of missing claims, view and scrape.
const LATE: Duration = Duration::from_secs(5);
/// Two series for each of 500 objects of one namespace, and some sums by reason.
const SERIES: usize = 2 * 500 + 300;
/// Interval of progress lines.
const PROGRESS: Duration = Duration::from_secs(15);

/// Attack: everything that a tenant with all rights in one namespace and clients in the network can do, all at once.
/// Defence: the cost of each object and request is limited, and none affects decisions outside its namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs a real API server: ./tests/run"]
async fn attacking_tenant_disturbs_no_other() {
    let seed = setting("LOCKSMITH_SOAK_SEED").unwrap_or(SEED);
    let lasts = setting("LOCKSMITH_SOAK_MINUTES").map_or(SHORT, |minutes| minutes * 60);
    let lasts = Duration::from_secs(lasts);
    println!("attack: seed {seed}, {} s", lasts.as_secs());
    let testbed = cluster().await;
    let (user, account) = installed(&testbed, "act").await;
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "secret\n").unwrap();
    let auth: &'static str =
        Box::leak(format!("{{tokenFile: {}}}", tokens.display()).into_boxed_str());
    let settings = Settings {
        auth,
        // Claims are looked up four times within this: with a shorter time, the look-ups alone would load the API server.
        orphaned_after: "10s",
        ..Settings::default()
    };
    let attack = Attack {
        testbed: &testbed,
        account: &account,
        config: settings.yaml(),
        lasts,
    };
    let daemon = Daemon::start(account.kubeconfig(), &attack.config).await;
    daemon
        .until("it to lead", |samples| samples["locksmith_leader"] > 0.5)
        .await;
    let before = daemon.metrics().await.len();
    let mut promises = Promises::default();
    let samples = attack.run(&daemon, seed, &mut promises).await;
    promises.lived("first", &daemon);
    promises.saw(&samples);
    promises.stayed_small(before, &samples);
    promises.wrote_nothing_else(&testbed, &user).await;
    assert!(promises.0.is_empty(), "{:#?}", promises.0);
    println!("attack: every promise kept");
}

/// A cluster with a CSI driver's classes and VolSync's kinds, without findings.
async fn cluster() -> Testbed {
    let options = Options {
        crds: vec![
            Remediation::crd(),
            SnapshotHold::crd(),
            ReplicationSource::crd(),
        ],
        ..Options::default()
    };
    let testbed = Box::pin(Testbed::start(options)).await;
    let client = testbed.client();
    let params = Default::default();
    let namespaces = Api::all(client.clone());
    for name in [NAMESPACE, "rook-ceph"] {
        let namespace: Namespace = named(json!({"name": name}), json!({}));
        namespaces.create(&params, &namespace).await.unwrap();
    }
    install_policy(&client).await;
    let class: StorageClass = named(
        json!({"name": IMMEDIATE_CLASS}),
        json!({"provisioner": DRIVER, "volumeBindingMode": "Immediate"}),
    );
    let classes = Api::all(client.clone());
    classes.create(&params, &class).await.unwrap();
    let class: VolumeSnapshotClass = named(
        json!({"name": SNAPSHOT_CLASS}),
        json!({"driver": DRIVER, "deletionPolicy": "Delete"}),
    );
    let classes = Api::all(client);
    classes.create(&params, &class).await.unwrap();
    testbed
}

/// All attackers.
struct Attack<'a> {
    testbed: &'a Testbed,
    account: &'a Identity,
    config: String,
    lasts: Duration,
}

impl Attack<'_> {
    async fn run(&self, daemon: &Daemon, seed: u64, promises: &mut Promises) -> Vec<Sample> {
        let mut chance = Rng::with_seed(seed);
        let begun = Instant::now();
        let sampler = Sampler::start(daemon.url("/metrics"), daemon.pid());
        let writers = Writers::start(self.testbed, &mut chance).await;
        let clients = Clients::start(daemon.address(), &mut chance);
        let progress = async {
            loop {
                tokio::time::sleep(PROGRESS).await;
                let requests: usize = writers.answers().values().sum();
                let resident = daemon.resident("VmRSS");
                let passed = begun.elapsed().as_secs();
                println!("attack: after {passed} s {requests} requests, {resident} KiB resident");
            }
        };
        let all = async {
            tokio::join!(
                neighbour::live(self.testbed, &sampler, begun + self.lasts),
                self.second(),
                self.alert(daemon)
            )
        };
        let (happened, second, taken) = tokio::select! {
            all = all => all,
            never = progress => never,
        };
        let (posts, opened) = (clients.answers(), clients.opened());
        figure(&format!(
            "attack: posts {posts:?}, {opened} hostile connections"
        ));
        figure(&format!("attack: requests {:?}", writers.end().await));
        drop(clients);
        promises.lived("second", &second);
        let scraped = sampler.end();
        promises.found(&happened, &scraped);
        promises.took(taken, &scraped);
        scraped
    }

    /// A second replica, which starts when there is much to list.
    async fn second(&self) -> Daemon {
        tokio::time::sleep(self.lasts / 3).await;
        let begun = Instant::now();
        let kubeconfig = self.account.kubeconfig();
        let second = Daemon::replica("locksmith-1", kubeconfig, &self.config).await;
        second
            .until("the second replica to see everything", |samples| {
                samples["locksmith_observation_complete"] > 0.5
            })
            .await;
        let took = begun.elapsed();
        figure(&format!(
            "attack: a second replica saw everything after {took:?}"
        ));
        second
    }

    /// Sends an alert with the token, and waits until its run is evaluated; returns when it was sent and when accepted.
    async fn alert(&self, daemon: &Daemon) -> (Instant, Instant) {
        tokio::time::sleep(self.lasts / 2).await;
        let begun = Instant::now();
        let alert = notification("LocksmithRestoreStuck", &[("driver", DRIVER)]);
        while !matches!(daemon.try_post(Some("secret"), &alert).await, Ok((202, _))) {
            assert!(begun.elapsed() < PATIENCE, "never taken");
            tokio::time::sleep(POLL).await;
        }
        let taken = Instant::now();
        let runs = Api::<Remediation>::namespaced(self.testbed.client(), NAMESPACE);
        let judged = |run: &Arc<Remediation>| {
            let status = run.status.as_ref();
            status.is_some_and(|status| !status.gates.is_empty())
        };
        let judged = scenario::until(runs, "a run to be judged", PATIENCE, |runs| {
            runs.iter().any(judged)
        });
        judged.await.unwrap();
        let (accepted, judged) = (taken - begun, begun.elapsed());
        figure(&format!(
            "attack: an alert was accepted after {accepted:?}, its run judged after {judged:?}"
        ));
        (begun, taken)
    }
}

/// The broken assertions.
#[derive(Default)]
struct Promises(Vec<String>);

impl Promises {
    fn hold(&mut self, held: bool, broken: impl FnOnce() -> String) {
        if !held {
            self.0.push(broken());
        }
    }

    /// Asserts that it is the same process, without a panic, within its memory.
    fn lived(&mut self, which: &str, daemon: &Daemon) {
        let log = daemon.log_text();
        self.hold(daemon.is_running(), || format!("the {which} replica ended"));
        self.hold(!log.contains("panicked"), || {
            format!("the {which} replica panicked")
        });
        if daemon.is_running() {
            let most = daemon.resident("VmHWM");
            figure(&format!(
                "attack: {most} KiB resident in the {which} replica at most"
            ));
            self.hold(most < MEMORY, || {
                format!("{most} KiB in the {which} replica")
            });
        }
    }

    /// Asserts new views in time.
    fn saw(&mut self, samples: &[Sample]) {
        let gaps = gaps(samples);
        figure(&format!("attack: {}", summary(samples)));
        figure(&format!(
            "attack: longest without a new view: {:?}",
            &gaps[..gaps.len().min(3)]
        ));
        let worst = gaps[0];
        self.hold(worst.own() <= BLIND, || format!("no new view: {worst:?}"));
    }

    /// Asserts a bounded number of series.
    fn stayed_small(&mut self, before: usize, samples: &[Sample]) {
        let all = |sample: &&Sample| sample.series.values().sum::<usize>();
        let largest = samples.iter().max_by_key(all).unwrap();
        let most = all(&largest);
        figure(&format!(
            "attack: {before} series before, {most} at most: {:?}",
            largest.series
        ));
        self.hold(most <= before + SERIES, || format!("{most} series"));
    }

    /// Asserts that objects of other namespaces were found in time.
    fn found(&mut self, happened: &[Happened], samples: &[Sample]) {
        let late = |it: &Happened| it.found.saturating_duration_since(it.due);
        let own = |it: &Happened| late(it).saturating_sub(starved(samples, it.due, it.found));
        let mut all: Vec<_> = happened
            .iter()
            .map(|it| (own(it), late(it), it.kind))
            .collect();
        all.sort();
        let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
        figure(&format!(
            "attack: {} ordinary findings; after their threshold, less the time starved, and in all: median {median:?}, \
             slowest {worst:?}",
            all.len()
        ));
        self.hold(worst.0 <= LATE, || format!("found late: {worst:?}"));
    }

    /// Asserts that an alert was accepted in time.
    fn took(&mut self, (sent, taken): (Instant, Instant), samples: &[Sample]) {
        let own = (taken - sent).saturating_sub(starved(samples, sent, taken));
        self.hold(own <= LATE, || format!("accepted after {own:?}"));
    }

    /// Asserts that nothing of another namespace was written, and nothing except for locksmith's own objects.
    async fn wrote_nothing_else(&mut self, testbed: &Testbed, user: &str) {
        let holds = Api::<SnapshotHold>::namespaced(testbed.client(), NAMESPACE);
        let held = holds.list(&Default::default()).await.unwrap();
        let held: Vec<_> = held.iter().map(ResourceExt::name_any).collect();
        let report = audited(testbed, &[user], &[], &held).await;
        figure(&format!(
            "attack: writes of the program {:?}",
            report.writes
        ));
        let own = ["event", "lease", "run", "alerts", "status"];
        for what in report.writes.keys().filter(|what| !own.contains(what)) {
            self.0.push(format!("the program wrote: {what}"));
        }
        self.0.extend(
            report
                .violations
                .iter()
                .map(|one| format!("{:?}: {}", one.rule, one.what)),
        );
        let tenant = format!("system:serviceaccount:{TENANT}:{TENANT}");
        let mut refused = 0;
        testbed.audit().each(|event| {
            let done = event.is_write() && event.code < 300;
            let theirs = event.namespace == TENANT;
            if event.user == tenant {
                refused += usize::from(event.code == 403);
                self.hold(!done || theirs, || format!("the tenant: {event:?}"));
            } else if event.user == user {
                self.hold(!event.is_write() || !theirs, || {
                    format!("the program: {event:?}")
                });
            }
        });
        self.hold(refused > 0, || "the tenant was refused nothing".to_owned());
    }
}
