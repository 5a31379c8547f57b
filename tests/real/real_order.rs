//! Locked snapshots, by hand: restarted first, and deleted first ([ADR 0001](../../deploy/docs/adr/0001-restart-before-delete.md)).
//!
//! A jam is four hung calls of CreateSnapshot. `LOCKSMITH_JAMS` is the number of jams for each order, by default 1. Asserted:
//! 1. restarted first, every snapshot becomes ready by itself;
//! 2. deleted first, an annotation on its content frees every deletion that did not end by itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use locksmith::demo::scenario::App;
use serde_json::json;

use crate::actors::{
    CLAIM, CONTENT, Ground, Person, SNAPSHOT, bound, created, gone, ready, refused,
};
use crate::layout::{Layout, Pace};
use crate::stack::Stack;
use crate::testbed::figure;

const SNAPSHOTS: [&str; 4] = ["one", "two", "three", "four"];

/// Time after the creation's success within which a deletion ends that the sidecar does not miss.
const SETTLE: Duration = Duration::from_secs(2);

fn jams() -> usize {
    let jams = std::env::var("LOCKSMITH_JAMS").ok();
    jams.map_or(1, |jams| jams.parse().expect("LOCKSMITH_JAMS is a number"))
}

/// Creates four refused snapshots in a namespace of their own.
async fn jam(ground: &Ground, namespace: &str) -> Person {
    let person = Person::new(ground.client(), namespace).await;
    person.claim(&App::new(namespace, "data").claim()).await;
    person.until(CLAIM, "data", bound).await;
    let rule = |snapshot: &str| {
        json!({
            "id": format!("{namespace}-{snapshot}"),
            "method": "CreateSnapshot",
            "snapshot": snapshot,
            "namespace": namespace,
            "action": "hang",
            "times": 1,
        })
    };
    ground.hang(&SNAPSHOTS.map(rule));
    let mut requests = Vec::new();
    for name in SNAPSHOTS {
        person.snapshot(name).await;
        requests.push(format!("snapshot-{}", person.uid(SNAPSHOT, name).await));
    }
    ground.hung(&requests).await;
    for name in SNAPSHOTS {
        person.until(SNAPSHOT, name, refused).await;
    }
    person
}

/// Seconds until every snapshot is ready.
async fn restart_first(ground: &Ground, person: &Person) -> f64 {
    let begun = Instant::now();
    ground.restart().await;
    for name in SNAPSHOTS {
        person.until(SNAPSHOT, name, ready).await;
    }
    begun.elapsed().as_secs_f64()
}

/// Number of deletions that did not end by themselves, and seconds from the first annotation until the last of them ended.
async fn delete_first(ground: &Ground, person: &Person) -> (usize, f64) {
    let mut contents = Vec::new();
    for name in SNAPSHOTS {
        contents.push(person.content_of(name).await);
        person.delete(SNAPSHOT, name).await;
    }
    ground.restart().await;
    for content in &contents {
        person.until(CONTENT, content, created).await;
    }
    tokio::time::sleep(SETTLE).await;
    let mut missed = 0;
    for content in &contents {
        missed += usize::from(
            person
                .api(CONTENT)
                .get_opt(content)
                .await
                .unwrap()
                .is_some(),
        );
    }
    let begun = Instant::now();
    for content in &contents {
        person.touch(CONTENT, content).await;
    }
    for name in SNAPSHOTS {
        person.until(SNAPSHOT, name, gone).await;
    }
    (missed, begun.elapsed().as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn locked_snapshots_become_ready_when_restarted_first() {
    let stack = Stack::start(Layout::CLASSIC_V5, Pace::SHORT, BTreeSet::new()).await;
    let ground = Ground::Real(Box::new(stack));
    let (mut ready, mut missed, mut freed) = (Vec::new(), 0, Vec::new());
    for number in 0..jams() {
        let person = jam(&ground, &format!("restarted-{number}")).await;
        ready.push(restart_first(&ground, &person).await);
        let person = jam(&ground, &format!("deleted-{number}")).await;
        let (of_jam, took) = delete_first(&ground, &person).await;
        missed += of_jam;
        freed.push(took);
    }
    let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    figure(&format!(
        "order of restart and deletion, {} jams of {} snapshots each: restarted first, all ready after {:.1} s at most; deleted first, \
         {missed} of {} deletions did not end by themselves, and ended {:.1} s at most after an annotation",
        jams(),
        SNAPSHOTS.len(),
        longest(&ready),
        jams() * SNAPSHOTS.len(),
        longest(&freed),
    ));
}
