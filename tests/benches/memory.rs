//! Whether memory is stable: the events of many hours on 100,000 claims and as many snapshots.

use std::process::Command;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use locksmith::config::Config;
use locksmith::findings::DetectionSettings;
use locksmith::model::{Change, Delta, Model};
use locksmith::state::view;
use locksmith::watch::Patterns;

use crate::cluster::{Cluster, Shape};
use crate::figures::{Row, memory, size};
use crate::growth;

/// Argument with which this program measures it in a separate process.
pub const ONE: &str = "--memory-of-one";

fn claims() -> usize {
    size(100_000)
}

/// Number of simulated hours.
const HOURS: usize = 12;

/// Events per hour: each of 10,000 sources creates a snapshot, which becomes ready and is deleted.
fn snapshots() -> usize {
    size(10_000)
}

pub fn bench() -> Vec<Row> {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(ONE)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let sizes: Vec<f64> = serde_json::from_str(&text).unwrap();
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    let hours = sizes.iter().map(|size| format!("{:.1}", mib(*size)));
    println!(
        "{} claims; resident MiB after each hour of {} events and one relist: {}",
        claims(),
        snapshots() * 3,
        hours.collect::<Vec<_>>().join(", ")
    );
    let (first, last) = (sizes[1], sizes[sizes.len() - 1]);
    vec![Row::new(
        &format!(
            "resident memory after {HOURS} hours of {} events",
            snapshots() * 3
        ),
        format!("{:.1} MiB", mib(last)),
        &format!("after the first hour: {:.1} MiB", mib(first)),
        &format!("{:+.1} %", (last / first - 1.0) * 100.0),
    )]
}

/// Prints the resident memory at first, and after each hour.
pub fn one() {
    let config = Config::default();
    let settings = DetectionSettings {
        detect: config.detect.clone(),
        drivers: config.drivers.clone(),
        one_shot: false,
    };
    let now = Timestamp::now();
    let cluster = Cluster {
        claims: claims(),
        shape: Shape::OnePercent,
        now,
        patterns: Arc::new(Patterns::new(&config).unwrap()),
    };
    let (mut model, _) = growth::filled(&cluster);
    let resident = || memory(std::process::id(), "VmRSS");
    let mut sizes = vec![resident()];
    for hour in 0..HOURS {
        let now = now + SignedDuration::from_hours(hour.try_into().unwrap());
        for at in 0..snapshots() {
            // Each name is used only once, like those of populated claims.
            let at = claims() + hour * snapshots() + at;
            for change in [
                cluster.snapshot(at, false),
                cluster.snapshot(at, true),
                gone(&cluster, at),
            ] {
                model.apply(change);
            }
            if at.is_multiple_of(100) {
                model.forget(now);
                drop(view::take(&model, &config, &settings, now));
            }
        }
        relist(&cluster, &mut model);
        sizes.push(resident());
    }
    println!("{}", serde_json::to_string(&sizes).unwrap());
}

fn gone(cluster: &Cluster, at: usize) -> Change {
    Change::Snapshot(Delta::Delete {
        namespace: cluster.namespace(at).into(),
        name: Cluster::snapshot_name(at).into(),
    })
}

/// A complete relist, as after a failed watch.
fn relist(cluster: &Cluster, model: &mut Model) {
    model.apply(Change::Claim(Delta::Init));
    for at in 0..claims() {
        model.apply(cluster.claim(at, !cluster.is_stuck(at)));
    }
    model.apply(Change::Claim(Delta::InitDone));
}
