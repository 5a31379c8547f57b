//! Cost of a cluster with a thousand to 300,000 claims: events, scrapes and memory.
//!
//! Each size is measured in a process of its own, so that it does not use another's memory.

mod measure;

use std::process::Command;

use crate::figures::{Row, short};
use measure::Figures;
pub use measure::filled;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 300_000];

/// Index of the size in the final table: 100,000 claims, as many snapshots, 10,000 sources.
const SHOWN: usize = 2;

/// Argument with which this program measures one size.
pub const ONE: &str = "--growth-of-one";

pub fn one(claims: usize) {
    let figures = measure::measure(claims);
    println!("{}", serde_json::to_string(&figures).unwrap());
}

pub fn bench() -> Vec<Row> {
    let figures = SIZES.map(measured);
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
    let exponent = exponent(&figures);
    println!("growth of an event with the cluster, the stuck held at 100: exponent {exponent:.2}");
    let of = &figures[SHOWN];
    let size = format!("{} claims, as many snapshots, 1% stuck", of.claims);
    vec![
        Row::new(
            &format!("scrape, {size}"),
            format!(
                "{} ms, p99 {} ms; {} KiB",
                short(of.scrape.median * 1e3),
                short(of.scrape.p99 * 1e3),
                short(of.body / 1024.0)
            ),
            "",
            "",
        ),
        Row::new(
            "an event, 1,000 to 300,000 claims, 100 stuck",
            format!(
                "{} ms to {} ms",
                short(figures[0].monotonic.median * 1e3),
                short(figures[SIZES.len() - 1].monotonic.median * 1e3)
            ),
            "looking at everything: exponent 1",
            &format!("exponent {exponent:.2}"),
        ),
    ]
}

fn measured(claims: usize) -> Figures {
    let itself = std::env::current_exe().unwrap();
    let output = Command::new(itself)
        .args([ONE, &claims.to_string()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `b` in `time = a · size^b`, fitted to all sizes by least squares of the logarithms.
fn exponent(figures: &[Figures]) -> f64 {
    let points = figures
        .iter()
        .map(|of| ((of.claims as f64).ln(), of.monotonic.median.ln()));
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
