//! Time from a failure until it is in /metrics, and from a webhook to the first write of its run: on an idle system, and
//! during a flood of driver logs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::daemon::{Daemon, agent};
use crate::figures::{Row, Spread, short, size};
use crate::server::{DRIVER, Ground, Jam, NAMESPACE, config, objects, over, seconds};
use crate::testbed::Event;

/// Number of objects that fail, one after the other.
fn claims() -> usize {
    size(200)
}

/// Pause between two of them, chosen so that it is no multiple of any interval.
const PAUSE: Duration = Duration::from_millis(53);
/// Number of webhooks, each with its own run.
fn runs() -> usize {
    size(20)
}

/// Lines per second of each of two replicas.
const FLOOD: u64 = 50_000;
/// Age from which a claim is stuck.
const AGE: SignedDuration = SignedDuration::from_secs(1);

/// A run that only holds would have nothing to do. It is aborted while it settles, so the snapshot stays for the next one.
const PLAYBOOK: &str = "
playbooks:
  suspend:
    alerts: [['alertname=\"LocksmithOperationLocked\"']]
    steps: [suspendSources, deleteFailedSnapshots, resumeSources]
    attempts: 1
";

pub async fn bench() -> Vec<Row> {
    let ground = Ground::new().await;
    let jam = Jam {
        sources: 5,
        failed: 1,
        pending: 0,
    };
    ground.jam(jam).await;
    let user = ground.service_account("locksmith-daemon").await;
    let config = config(PLAYBOOK).replace(
        "suspendSources: {settle: 0s",
        "suspendSources: {settle: 30m",
    );
    let daemon = ground.daemon(&user, &config, 1).await;
    let seen = went_bad(&ground, &daemon).await.scaled(1e3);
    println!(
        "ms beyond its age until a claim is in /metrics: {seen}, p99 {}",
        short(seen.p99)
    );
    let peace = webhooks(&ground, &daemon, "in peace").await;
    ground.kubelet.write(FLOOD);
    let (before, begun) = (ground.kubelet.written(), Instant::now());
    let flood = webhooks(&ground, &daemon, "in a flood").await;
    let written = ground.kubelet.written() - before;
    let lines = written as f64 / begun.elapsed().as_secs_f64();
    let read = daemon.metrics().await["locksmith_log_lines_total"];
    ground.kubelet.write(0);
    println!(
        "flood: {written} lines, {} a second, of which {read} are read by now",
        short(lines)
    );
    for (name, of) in [("in peace", &peace), ("in a flood", &flood)] {
        println!(
            "ms from webhook to Remediation {name}: {}, p99 {}; to the first hold: {}, p99 {}",
            of.0,
            short(of.0.p99),
            of.1,
            short(of.1.p99)
        );
    }
    let figures = |of: Spread| format!("{} ms, p99 {} ms", short(of.median), short(of.p99));
    vec![
        Row::new(
            "from a finding's due time to /metrics",
            figures(seen),
            "goal: p99 100 ms",
            &format!("{:.2}", seen.p99 / 100.0),
        ),
        Row::new(
            "from webhook to Remediation",
            figures(peace.0),
            "goal: p99 200 ms",
            &format!("{:.2}", peace.0.p99 / 200.0),
        ),
        Row::new(
            "from webhook to first hold",
            figures(peace.1),
            "goal: p99 200 ms",
            &format!("{:.2}", peace.1.p99 / 200.0),
        ),
        Row::new(
            &format!("the same while {} lines of log come a second", short(lines)),
            figures(flood.1),
            &format!("without: {}", figures(peace.1)),
            &format!("{:.1} times the median", flood.1.median / peace.1.median),
        ),
    ]
}

/// Seconds from a claim's threshold until it is in /metrics, for many claims.
async fn went_bad(ground: &Ground, daemon: &Daemon) -> Spread {
    let client = ground.client();
    let url = daemon.url("/metrics");
    let looking = tokio::task::spawn_blocking(move || looked_for(&url));
    let mut due = BTreeMap::new();
    for at in 0..claims() {
        let name = format!("bad-{at}");
        let body = objects::pending(&name, None);
        let made = objects::send(&client, Method::POST, &objects::claims(at), &body).await;
        let answered = Timestamp::now();
        let created = made["metadata"]["creationTimestamp"].as_str().unwrap();
        let ripe = created.parse::<Timestamp>().unwrap() + AGE;
        due.insert(name, ripe.max(answered));
        tokio::time::sleep(PAUSE).await;
    }
    let seen = looking.await.unwrap();
    let late = due.iter().map(|(name, due)| seconds(*due, seen[name]));
    Spread::of(late.collect())
}

/// Time at which each claim was first in /metrics, polled as fast as possible.
fn looked_for(url: &str) -> BTreeMap<String, Timestamp> {
    let agent = agent();
    let mut seen = BTreeMap::new();
    while seen.len() < claims() {
        let body = agent.get(url).call().unwrap().body_mut().read_to_string();
        let now = Timestamp::now();
        for line in body.unwrap().lines() {
            if !line.starts_with("locksmith_stuck_since_timestamp_seconds{") {
                continue;
            }
            let name = line
                .split_once("name=\"bad-")
                .and_then(|(_, rest)| rest.split_once('"'));
            if let Some((number, _)) = name {
                seen.entry(format!("bad-{number}")).or_insert(now);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

/// Milliseconds from a webhook to its Remediation, and to the first hold of the run, for many runs.
async fn webhooks(ground: &Ground, daemon: &Daemon, when: &str) -> (Spread, Spread) {
    let mut posted = Vec::new();
    for _ in 0..runs() {
        let begun = Timestamp::now();
        let labels = [("driver", DRIVER)];
        let (code, answer) = daemon.fire("LocksmithOperationLocked", &labels).await;
        assert_eq!(code, 202, "{when}: {answer}");
        let name = answer["remediations"][0].as_str().unwrap().to_owned();
        posted.push((begun, name.clone()));
        // The next webhook creates another run only after this one has finished.
        ground
            .run_until(&name, |status| !status.holds.is_empty())
            .await;
        let path =
            format!("/apis/locksmith.dev/v1alpha1/namespaces/{NAMESPACE}/remediations/{name}");
        let abort = json!({ "spec": { "abort": true } });
        objects::send(&ground.client(), Method::PATCH, &path, &abort).await;
        ground.run_until(&name, over).await;
        daemon
            .until("the end of the run to be seen", |samples| {
                let mut open = samples.iter().filter(|(series, _)| is_of_open_runs(series));
                open.all(|(_, number)| *number == 0.0)
            })
            .await;
    }
    let all = ground.requests_of("locksmith-daemon").await;
    let first = |wanted: &dyn Fn(&Event) -> bool, since: Timestamp| {
        let found = all
            .iter()
            .filter(|event| event.received >= since && wanted(event));
        let first = found.map(|event| event.answered).min();
        seconds(since, first.unwrap())
    };
    let created = |event: &Event| event.verb == "create" && event.resource == "remediations";
    let held = |event: &Event| event.verb == "create" && event.resource == "snapshotholds";
    let times = |wanted: &dyn Fn(&Event) -> bool| {
        Spread::of(posted.iter().map(|(at, _)| first(wanted, *at)).collect())
    };
    (times(&created).scaled(1e3), times(&held).scaled(1e3))
}

fn is_of_open_runs(series: &str) -> bool {
    let open = ["phase=\"Pending\"", "phase=\"Running\""];
    series.starts_with("locksmith_remediations{") && open.iter().any(|it| series.contains(it))
}
