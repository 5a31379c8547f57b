//! What a cluster of a thousand to 300,000 claims costs: an event, a scrape, a byte of memory.
//!
//! Each size is measured in a process of its own, so that none stands in what another has left.

// A helper fails as a test does: by panicking.
#![allow(clippy::panic, clippy::unwrap_used)]

mod cluster;
mod measure;

use std::process::Command;

use measure::Figures;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 300_000];

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("--one") {
        let claims = args.next().unwrap().parse().unwrap();
        let figures = measure::measure(claims);
        println!("{}", serde_json::to_string(&figures).unwrap());
        return;
    }
    let figures = SIZES.map(one);
    println!(
        "{:>8}  {:>9}  {:>6}  {:>21}  {:>21}  {:>10}  {:>8}",
        "claims", "objects", "stuck", "event to view, ms", "scrape, ms", "body, KiB", "B/object"
    );
    println!(
        "{:>8}  {:>9}  {:>6}  {:>10} {:>10}  {:>10} {:>10}",
        "", "", "", "median", "p99", "median", "p99"
    );
    for of in &figures {
        println!(
            "{:>8}  {:>9}  {:>6}  {:>10.3} {:>10.3}  {:>10.3} {:>10.3}  {:>10.1}  {:>8.0}",
            of.claims,
            of.objects,
            of.stuck,
            of.event.median * 1e3,
            of.event.p99 * 1e3,
            of.scrape.median * 1e3,
            of.scrape.p99 * 1e3,
            of.body / 1024.0,
            of.bytes
        );
    }
    println!(
        "growth of an event with the cluster, the stuck held at 100: exponent {:.2}",
        exponent(&figures)
    );
}

fn one(claims: usize) -> Figures {
    let itself = std::env::current_exe().unwrap();
    let output = Command::new(itself)
        .args(["--one", &claims.to_string()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `b` of the line `time = a · size^b` through all sizes, by least squares of the logarithms.
#[allow(clippy::cast_precision_loss)]
fn exponent(figures: &[Figures]) -> f64 {
    let points = figures
        .iter()
        .map(|of| ((of.claims as f64).ln(), of.steady.median.ln()));
    let points: Vec<_> = points.collect();
    let mean =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}
