//! The simulated actors behave like the real parts that they replace.
//!
//! Set-up: one script ([`crate::actors`]), played on the real stack and in the simulated world of the demo, through the API
//! alone. At each of its stages, both show the same, except for names, uids and times:
//! 1. claims, snapshots, contents and sources: finalizers, labels, annotations, owners and status;
//! 2. the log lines by which the driver refuses;
//! 3. at the end, the Events of each component about each object, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use locksmith::demo::apiserver::Options;
use locksmith::demo::world::{ProvisionerMessages, Timings, WorldConfig};
use locksmith::demo::{Cluster, show};
use serde_json::json;

use crate::PATIENCE;
use crate::actors::{Ground, MISSED, Stage, play};
use crate::layout::{Layout, Pace};
use crate::objects::create;
use crate::stack::Stack;
use crate::testbed::figure;

/// The lines that only one of the two has.
fn difference(real: &Stage, simulated: &Stage) -> String {
    let lines = |stage: &Stage| -> BTreeSet<String> {
        // Each line follows the object that it is about.
        let mut about = String::new();
        let mut lines = BTreeSet::new();
        for line in stage.observed.lines() {
            if !line.starts_with(' ') {
                line.clone_into(&mut about);
            }
            lines.insert(format!("{about}: {}", line.trim()));
        }
        lines
    };
    let (real, simulated) = (lines(real), lines(simulated));
    let mut text = String::new();
    for line in real.difference(&simulated) {
        writeln!(text, "real only: {line}").unwrap();
    }
    for line in simulated.difference(&real) {
        writeln!(text, "simulated only: {line}").unwrap();
    }
    text
}

async fn simulated() -> Vec<Stage> {
    let timings = Timings {
        // Longer than the script.
        snapshot_resync: PATIENCE,
        ..Timings::fast()
    };
    let config = WorldConfig {
        messages: ProvisionerMessages::Prefixed,
        ..WorldConfig::new(timings)
    };
    let cluster = Cluster::start(Options::default(), config).await.unwrap();
    cluster.world.install().await.unwrap();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": show::NAMESPACE}});
    create(&cluster.server.client(), namespace).await;
    play(&Ground::Simulated(Box::new(cluster))).await
}

async fn real() -> Vec<Stage> {
    let stack = Stack::start(Layout::CLASSIC_V5, Pace::SHORT, BTreeSet::new()).await;
    play(&Ground::Real(Box::new(stack))).await
}

/// Differences by the title of their stage.
fn differences(real: &[Stage], simulated: &[Stage]) -> BTreeMap<&'static str, String> {
    let mut differences = BTreeMap::new();
    for (real, simulated) in real.iter().zip(simulated) {
        assert_eq!(real.title, simulated.title);
        // csi-snapshotter misses most deletions, but sometimes none.
        if real.title == MISSED && real.observed.is_empty() {
            continue;
        }
        assert!(!real.observed.is_empty(), "{}", real.title);
        if real.observed != simulated.observed {
            let mut text = difference(real, simulated);
            if text.is_empty() {
                text = format!("{}\n{}", real.observed, simulated.observed);
            }
            differences.insert(real.title, text);
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the real stack: ./tests/run"]
async fn simulated_actors_behave_like_the_real_parts() {
    // The real parts do not always do the same, for example after a conflict of two writes: each stage is equal in one play of
    // two.
    let simulated = simulated().await;
    let first = differences(&real().await, &simulated);
    if first.is_empty() {
        return;
    }
    println!("{first:#?}");
    let titles: Vec<_> = first.keys().copied().collect();
    figure(&format!(
        "real and simulated actors differed once in: {}",
        titles.join("; ")
    ));
    let mut second = differences(&real().await, &simulated);
    second.retain(|title, _| first.contains_key(title));
    assert!(second.is_empty(), "{second:#?}");
}
