//! The jam with every default and Rook's timings, from its first hung call to the end of its run.
//!
//! Set-up: [`crate::jam`] with sidecars as Rook deploys them; the program as deploy/overlays/act configures it; a real
//! Prometheus and a real Alertmanager with the shipped rules, routes and intervals. The test takes ten minutes,
//! mostly waiting. Asserted:
//! 1. an alert of the shipped rules starts the run by itself;
//! 2. every restored claim is Bound at its end, and it ends as Succeeded;
//! 3. VolSync creates no snapshot of a held source during the hold;
//! 4. the program deletes only stuck snapshots;
//! 5. LocksmithOperationLockForming fires at least 15 seconds before LocksmithOperationLocked;
//! 6. no running mover is killed, and the program writes to no source and no claim.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::healing::Outcome;
use crate::jam::{Hangs, Jam, copying, jam};
use crate::layout::{Layout, Pace};
use crate::monitors::{self, Monitor, Places};
use crate::render;
use crate::run::Run;
use crate::stack::Stack;
use crate::testbed::{Event, figure};
use crate::timeline::Timeline;

/// The locks are found after 4 minutes, or one by one after 8, their alert fires after 1 more, and a run may take 20.
const LIMIT: Duration = Duration::from_secs(35 * 60);

/// The configuration in deploy/overlays/act, with the namespace, which the program reads from its pod.
fn shipped_config() -> String {
    let objects = render::objects(&render::kustomize("deploy/overlays/act"));
    let mut configs = objects.iter().filter(|one| one["kind"] == "ConfigMap");
    let text = configs.find_map(|one| one["data"]["locksmith.yaml"].as_str());
    let text = text.expect("the overlay has a configuration");
    format!("{text}remediation: {{namespace: {}}}\n", render::NAMESPACE)
}

/// Time at which the last of the Pending claims became Bound, from the audit log.
fn all_bound(events: &[Event], jam: &Jam) -> Option<Timestamp> {
    let bound = |claim: &locksmith::demo::scenario::Identity| {
        let of = |event: &&Event| {
            let phase = event
                .request_body
                .as_ref()
                .map(|body| &body["status"]["phase"]);
            event.resource == "persistentvolumeclaims"
                && event.subresource == "status"
                && (&event.namespace, &event.name) == (&claim.namespace, &claim.name)
                && phase.is_some_and(|phase| phase == "Bound")
        };
        let times = events.iter().filter(of).map(|event| event.received);
        times.max()
    };
    let times: Option<Vec<_>> = jam.pending.iter().map(bound).collect();
    times?.into_iter().max()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack, and ten minutes: ./tests/run"]
async fn alerts_heal_with_every_default_and_rooks_timings() {
    let stack = Stack::start(Layout::CLASSIC_V5, Pace::ROOK, BTreeSet::from([copying()])).await;
    let daemon = stack.locksmith(&shipped_config()).await;
    let places = Places::new();
    let webhook = daemon.url("/webhook");
    let alertmanager = Monitor::notifying(&places, &webhook, monitors::Pace::Shipped).await;
    let targets = [daemon.address()];
    let prometheus = Monitor::scraping(&places, &targets, monitors::Pace::Shipped).await;
    let mut timeline = Timeline::default();
    let healed = async {
        let jam = jam(&stack, Hangs::Once).await;
        let run = Run::finished(&stack.client(), &daemon, LIMIT).await;
        (jam, run)
    };
    let (jam, run) = timeline.observe(&daemon, &prometheus, healed).await;
    let alerts = alertmanager.alerts().await;

    let calls = stack.ceph.calls();
    let hang = calls.iter().find(|call| call.event == "hang").unwrap().time;
    let refused = calls.iter().find(|call| call.outcome == "Aborted");
    timeline.add("first refusal", refused.unwrap().time);
    if let Some(bound) = all_bound(&stack.audited().await, &jam) {
        timeline.add("all claims Bound", bound);
    }
    for step in run.status["steps"].as_array().into_iter().flatten() {
        for (field, verb) in [("startedAt", "begins"), ("finishedAt", "ends")] {
            if let Some(time) = step[field].as_str() {
                let name = step["step"].as_str().unwrap();
                timeline.add(format!("{name} {verb}"), time.parse().unwrap());
            }
        }
    }
    let outcome = Outcome::read(&stack, &jam, run).await;
    figure(&format!(
        "real stack, every default and Rook's timings, since the first call hung: {}; {}; {} of 4 claims Bound; snapshots created during \
         the hold {}, deleted {}, wrongly deleted {}; movers killed {}; held {}",
        timeline.since(hang),
        outcome.run.summary(),
        outcome.bound,
        outcome.created,
        outcome.deleted,
        outcome.wrongly_deleted,
        stack.node.killed_movers().len(),
        outcome.held.len(),
    ));
    let context = format!(
        "{:#}\n{alerts:#?}\n{}",
        outcome.run.status,
        daemon.log_text()
    );
    let fires = |alert: &str| timeline.first(&format!("{alert} fires"));
    let warned = fires("LocksmithOperationLockForming").zip(fires("LocksmithOperationLocked"));
    let ahead = warned.map(|(warned, found)| found.duration_since(warned).as_secs());
    assert!(
        ahead.is_some_and(|ahead| ahead >= 15),
        "{ahead:?}: {context}"
    );
    assert_eq!(outcome.bound, 4, "{context}");
    assert_eq!(outcome.run.phase(), "Succeeded", "{context}");
    assert_eq!((outcome.created, outcome.wrongly_deleted), (0, 0));
    assert_eq!(stack.node.killed_movers(), [] as [String; 0]);
    assert_eq!((outcome.writes, outcome.annotated), (0, 0));
}
