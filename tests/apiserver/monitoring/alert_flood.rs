//! Three Alertmanagers that flood the webhook: one run, a response to every request, bounded memory. There is no run at
//! first, so that all of them request its creation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use locksmith::api::remediation::{Phase, Remediation};
use serde_json::json;

use crate::support::daemon::{Daemon, agent, notification};
use crate::support::stage::{DRIVER, Settings, Stage};

const ALERTMANAGERS: usize = 3;
/// Concurrent notifications of each: in total more than are accepted at once.
const CONNECTIONS: usize = 8;
const NOTIFICATIONS: usize = 10_000;
/// Maximum growth of the resident memory, in KiB.
const GROWTH: u64 = 32 * 1024;
/// Time limit; on an idle machine it takes some seconds.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause before a rejected notification is repeated. Alertmanager's pause is longer, with the same result.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn ten_thousand_notifications_of_one_cause_start_one_run() {
    let stage = Stage::jammed().await;
    let settings = Settings {
        // Longer than the test.
        cooldown: "1h",
        ..Settings::default()
    };
    let daemon = stage.daemon(&settings).await;
    // The peak at startup does not count.
    forget_the_peak(&daemon);
    let before = daemon.resident("VmRSS");
    let url = daemon.url("/webhook");
    let senders: Vec<_> = (0..ALERTMANAGERS * CONNECTIONS)
        .map(|sender| {
            let url = url.clone();
            tokio::task::spawn_blocking(move || send(&url, sender))
        })
        .collect();
    let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
    for sender in senders {
        for (code, count) in sender.await.unwrap() {
            *answers.entry(code).or_default() += count;
        }
    }
    let grown = daemon.resident("VmHWM").saturating_sub(before);
    println!("{answers:?}, resident memory {before} KiB and at most {grown} more");
    assert!(
        answers.keys().all(|code| matches!(code, 202 | 503)),
        "{answers:?}"
    );
    assert_eq!(answers[&202], NOTIFICATIONS, "{answers:?}");
    assert!(grown < GROWTH, "{grown} KiB");

    let status = stage.finished().await;
    assert_eq!(status.phase, Phase::Succeeded, "{status:#?}");
    let runs = stage.list::<Remediation>().await;
    assert_eq!(runs.len(), 1);
    let listed = runs[0].spec.trigger.alerts.len();
    assert!((2..=50).contains(&listed), "{listed}");
    let created = stage.writes().await;
    let created = created
        .iter()
        .filter(|event| event.verb == "create" && event.resource == "remediations")
        .filter(|event| event.code < 300);
    assert_eq!(created.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a real API server: ./tests/run"]
async fn concurrent_alerts_start_one_run_that_lists_them_all() {
    let stage = Stage::jammed().await;
    let daemon = stage.daemon(&Settings::default()).await;
    let numbers = 0..5;
    let posts = numbers.clone().map(|number| {
        let mut body = notification("LocksmithOperationLocked", &[("driver", DRIVER)]);
        body["alerts"][0]["fingerprint"] = json!(format!("{number:016x}"));
        let daemon = &daemon;
        async move { assert_eq!(daemon.post(&body).await.0, 202) }
    });
    futures::future::join_all(posts).await;
    let runs = stage.list::<Remediation>().await;
    assert_eq!(runs.len(), 1);
    let alerts = &runs[0].spec.trigger.alerts;
    let listed = alerts.iter().map(|alert| alert.fingerprint.clone());
    let sent = numbers.map(|number| format!("{number:016x}"));
    assert_eq!(listed.collect::<BTreeSet<_>>(), sent.collect());
}

/// Sends this sender's notifications, all different, each until it is accepted, as Alertmanager does; counts the responses
/// by status.
fn send(url: &str, sender: usize) -> BTreeMap<u16, usize> {
    let agent = agent();
    let deadline = Instant::now() + PATIENCE;
    let mut answers = BTreeMap::new();
    for number in (sender..NOTIFICATIONS).step_by(ALERTMANAGERS * CONNECTIONS) {
        let alertname = ["LocksmithOperationLocked", "LocksmithRestoreStuck"][number % 2];
        let mut body = notification(alertname, &[("driver", DRIVER)]);
        body["groupKey"] = json!(format!("{{}}/{number}"));
        body["alerts"][0]["fingerprint"] = json!(format!("{:016x}", number % 1000));
        body["externalURL"] = json!(format!("http://alertmanager-{}", sender % ALERTMANAGERS));
        let body = body.to_string();
        loop {
            let request = agent.post(url).header("content-type", "application/json");
            let mut answer = request.send(&*body).unwrap();
            let text = answer.body_mut().read_to_string().unwrap();
            let code = answer.status().as_u16();
            *answers.entry(code).or_default() += 1;
            if code != 503 {
                break;
            }
            assert!(Instant::now() < deadline, "never taken: {text}");
            std::thread::sleep(PAUSE);
        }
    }
    answers
}

/// Resets Linux's `VmHWM` to the memory that is resident now.
fn forget_the_peak(daemon: &Daemon) {
    std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").unwrap();
}
