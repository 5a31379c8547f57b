//! Shared by the benches: the spread of many measurements, and the rows of the final table.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Divisor of what [`size`] and [`duration`] return, from `LOCKSMITH_BENCH_DIVISOR`. Divided benches only show that they work.
static DIVISOR: LazyLock<u8> = LazyLock::new(|| {
    let Ok(set) = std::env::var("LOCKSMITH_BENCH_DIVISOR") else {
        return 1;
    };
    let divisor = set
        .parse()
        .ok()
        .filter(|divisor| (1..=10).contains(divisor));
    divisor.expect("LOCKSMITH_BENCH_DIVISOR is a number from 1 to 10")
});

/// A number of objects or repetitions, divided; at least 1.
pub fn size(of: usize) -> usize {
    (of / usize::from(*DIVISOR)).max(1)
}

/// A duration, divided; at least a second, unless it is shorter.
pub fn duration(of: Duration) -> Duration {
    (of / u32::from(*DIVISOR)).max(Duration::from_secs(1).min(of))
}

/// Many measurements of the same thing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub p99: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        Self {
            least: all[0],
            median: all[all.len() / 2],
            p99: all[all.len() * 99 / 100],
            most: all[all.len() - 1],
        }
    }

    /// Seconds of each of `times` repetitions.
    pub fn times(times: usize, mut what: impl FnMut()) -> Self {
        Self::of((0..times).map(|_| timed(&mut what)).collect())
    }

    /// The same in another unit.
    pub fn scaled(self, by: f64) -> Self {
        Self {
            least: self.least * by,
            median: self.median * by,
            p99: self.p99 * by,
            most: self.most * by,
        }
    }
}

/// The median, with minimum and maximum.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, least, most) = (self.median, self.least, self.most);
        write!(f, "{} ({} to {})", short(median), short(least), short(most))
    }
}

/// Three significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Duration in seconds.
pub fn timed(what: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    what();
    begun.elapsed().as_secs_f64()
}

/// A row of the final table.
pub struct Row {
    /// Subject of the measurement.
    pub what: String,
    /// Figure of this program.
    pub ours: String,
    /// Figure of the comparison, with its subject.
    pub beside: String,
    /// Ratio of both.
    pub ratio: String,
}

impl Row {
    pub fn new(what: &str, ours: String, beside: &str, ratio: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours,
            beside: beside.to_owned(),
            ratio: ratio.to_owned(),
        }
    }
}

/// Prints the table of deploy/docs/performance.md.
pub fn table(rows: &[Row]) {
    println!("\n| measured | locksmith | compared with | ratio |\n|---|---|---|---|");
    for Row {
        what,
        ours,
        beside,
        ratio,
    } in rows
    {
        println!("| {what} | {ours} | {beside} | {ratio} |");
    }
}

/// Memory of a process in bytes, as Linux reports it: `VmRSS` is the current size, `VmHWM` the peak.
pub fn memory(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<f64>().unwrap() * 1024.0
}

/// Seconds of processor time that a process has taken.
pub fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything.
    let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // utime and stime, in hundredths of a second (proc_pid_stat(5)).
    (ticks(11) + ticks(12)) / 100.0
}
