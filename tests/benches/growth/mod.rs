//! Cost of a cluster with a thousand to 300,000 claims, and of one in its worst states: events, scrapes and memory.
//!
//! Each cluster is measured in a process of its own, so that it does not use another's memory.

mod measure;

use std::process::Command;

use crate::cluster::Shape;
use crate::figures::{Row, short, size};
use measure::Figures;
pub use measure::filled;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 300_000];

/// Index of the size in the final table: 100,000 claims, as many snapshots, 10,000 sources.
const SHOWN: usize = 2;

/// Argument with which this program measures one cluster: its number of claims and its shape follow.
pub const ONE: &str = "--growth-of-one";

/// Measures a cluster of `claims` claims and of `shape`, which is in JSON.
pub fn one(claims: &str, shape: &str) {
    let shape = serde_json::from_str(shape).unwrap();
    let figures = measure::measure(claims.parse().unwrap(), shape);
    println!("{}", serde_json::to_string(&figures).unwrap());
}

pub fn bench() -> Vec<Row> {
    let figures = SIZES.map(|claims| measured(size(claims), Shape::OnePercent));
    heading();
    for of in &figures {
        line(of, "1% stuck");
    }
    let fixed = SIZES.map(|claims| measured(size(claims), Shape::FixedStuck));
    let exponent = exponent(&fixed);
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
            &format!(
                "an event, {} to {} claims, 100 stuck",
                fixed[0].claims,
                fixed[SIZES.len() - 1].claims
            ),
            format!(
                "{} ms to {} ms",
                short(fixed[0].event.median * 1e3),
                short(fixed[SIZES.len() - 1].event.median * 1e3)
            ),
            "looking at everything: exponent 1",
            &format!("exponent {exponent:.2}"),
        ),
        hostile(of),
    ]
}

/// Measures the hostile shapes. The row shows the one with the most expensive event, compared with `usual`.
fn hostile(usual: &Figures) -> Row {
    println!();
    heading();
    let figures = Shape::HOSTILE.map(|(shape, name)| {
        let of = measured(usual.claims, shape);
        line(&of, name);
        (of, name)
    });
    let slowest = figures
        .iter()
        .max_by(|(one, _), (other, _)| one.event.median.total_cmp(&other.event.median));
    let (of, name) = slowest.unwrap();
    Row::new(
        &format!(
            "an event, {} claims, the most expensive of {} hostile shapes: {name}",
            usual.claims,
            figures.len()
        ),
        format!(
            "{} ms, p99 {} ms",
            short(of.event.median * 1e3),
            short(of.event.p99 * 1e3)
        ),
        &format!("1% stuck: {} ms", short(usual.event.median * 1e3)),
        &format!(
            "{} times as long",
            short(of.event.median / usual.event.median)
        ),
    )
}

fn heading() {
    println!(
        "{:>8}  {:<23}  {:>9}  {:>7}  {:>28}  {:>21}  {:>10}  {:>8}  {:>9}",
        "claims",
        "",
        "objects",
        "stuck",
        "event to view, ms",
        "scrape, ms",
        "body, KiB",
        "B/object",
        "peak, MiB"
    );
    println!(
        "{:>8}  {:<23}  {:>9}  {:>7}  {:>10} {:>10} {:>6}  {:>10} {:>10}",
        "", "", "", "", "median", "p99", "times", "median", "p99"
    );
}

fn line(of: &Figures, name: &str) {
    println!(
        "{:>8}  {name:<23}  {:>9}  {:>7}  {:>10.3} {:>10.3} {:>6}  {:>10.3} {:>10.3}  {:>10.1}  {:>8.0}  {:>9.1}",
        of.claims,
        of.objects,
        of.stuck,
        of.event.median * 1e3,
        of.event.p99 * 1e3,
        of.events,
        of.scrape.median * 1e3,
        of.scrape.p99 * 1e3,
        of.body / 1024.0,
        of.bytes,
        of.peak / 1024.0 / 1024.0
    );
}

fn measured(claims: usize, shape: Shape) -> Figures {
    let itself = std::env::current_exe().unwrap();
    let shape = serde_json::to_string(&shape).unwrap();
    let output = Command::new(itself)
        .args([ONE, &claims.to_string(), &shape])
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
        .map(|of| ((of.claims as f64).ln(), of.event.median.ln()));
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
