//! Scrapes a daemon every 200 ms, as a reader of its metrics, and reads its state from Linux.
//!
//! Views are counted by `locksmith_detection_duration_seconds_count`, which each view increments: if the count differs
//! between two scrapes, there was a new view. During a slow scrape the reader sees nothing, so it counts like a late view.
//!
//! API server, etcd and the attack share the machine with the daemon. A thread of the daemon that is ready but has no core
//! waits on Linux's run queue, which `/proc/PID/task/TID/schedstat` counts in nanoseconds; this part of a gap is not the
//! daemon's.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::daemon::agent;

/// Interval of scrapes.
const INTERVAL: Duration = Duration::from_millis(200);

/// One scrape.
pub struct Sample {
    /// Time of the response.
    at: Instant,
    /// Time from the request to the last byte.
    took: Duration,
    /// Number of views until then.
    views: u64,
    /// Series by family.
    pub series: BTreeMap<String, usize>,
    /// Time that each thread, including the scraper, has waited for a core until then.
    waited: BTreeMap<u32, u64>,
    /// Processor time of the daemon until then, in ticks of 10 ms.
    ticks: u64,
}

/// A time without a new view.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub lasted: Duration,
    /// Longest time that a thread of the daemon, or the scraper, waited for a core meanwhile.
    pub starved: Duration,
    /// Processor time that the daemon used meanwhile.
    pub busy: Duration,
}

impl Gap {
    /// The part of the gap that the daemon caused.
    pub fn own(&self) -> Duration {
        self.lasted.saturating_sub(self.starved)
    }
}

/// Scrapes until ended.
pub struct Sampler {
    over: Arc<AtomicBool>,
    found: Arc<Mutex<HashMap<String, Option<Instant>>>>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Starts scraping `url` of the process `pid`.
    pub fn start(url: String, pid: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let found = Arc::new(Mutex::new(HashMap::new()));
        let (ends, wanted) = (over.clone(), found.clone());
        let thread = std::thread::spawn(move || scrape(&url, pid, &ends, &wanted));
        Self {
            over,
            found,
            thread,
        }
    }

    /// Searches for a stuck object `name` from now on.
    pub fn expect(&self, name: &str) {
        self.found.lock().unwrap().insert(name.to_owned(), None);
    }

    /// Time at which the object `name` first appeared in the metrics.
    pub fn found(&self, name: &str) -> Option<Instant> {
        self.found.lock().unwrap().get(name).copied().flatten()
    }

    /// Ends, and returns all samples.
    pub fn end(self) -> Vec<Sample> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn scrape(
    url: &str,
    pid: u32,
    over: &AtomicBool,
    wanted: &Mutex<HashMap<String, Option<Instant>>>,
) -> Vec<Sample> {
    let agent = agent();
    let mut samples = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut answer = agent.get(url).call().unwrap();
        if answer.status() != 200 {
            // A failed scrape shows nothing: the gap lasts until the next sample.
            println!("attack: a scrape was answered with {}", answer.status());
            std::thread::sleep(INTERVAL);
            continue;
        }
        let body = answer.body_mut().with_config().limit(u64::MAX);
        let body = body.read_to_string().unwrap();
        let at = Instant::now();
        for (name, found) in wanted.lock().unwrap().iter_mut() {
            if found.is_none() && body.contains(&format!("name=\"{name}\"")) {
                *found = Some(at);
            }
        }
        samples.push(Sample {
            at,
            took: at - begun,
            views: views(&body),
            series: series(&body),
            waited: waited(pid),
            ticks: ticks(pid),
        });
        std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
    }
    samples
}

fn views(body: &str) -> u64 {
    let count = body
        .lines()
        .find_map(|line| line.strip_prefix("locksmith_detection_duration_seconds_count "));
    count.unwrap().parse().unwrap()
}

fn series(body: &str) -> BTreeMap<String, usize> {
    let mut series = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let family = line.split(['{', ' ']).next().unwrap_or_default();
        *series.entry(family.to_owned()).or_default() += 1;
    }
    series
}

/// Nanoseconds on the run queue by thread, for `pid` and the calling thread.
fn waited(pid: u32) -> BTreeMap<u32, u64> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    };
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let threads = tasks.read_dir().into_iter().flatten().flatten();
    let mut waited: BTreeMap<u32, u64> = threads
        .filter_map(|thread| {
            let number = thread.file_name().to_str()?.parse().ok()?;
            Some((number, read(&thread.path())?))
        })
        .collect();
    waited.extend(read(Path::new("/proc/thread-self")).map(|own| (0, own)));
    waited
}

/// User and system time of a process (proc(5), `/proc/PID/stat`, fields 14 and 15).
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|time| time.parse::<u64>().unwrap()).sum()
}

/// The times without a new view, sorted by the part that the daemon caused, longest first.
pub fn gaps(samples: &[Sample]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut last = 0;
    for now in 1..samples.len() {
        if samples[now].views == samples[last].views && now + 1 < samples.len() {
            continue;
        }
        gaps.push(between(&samples[last], &samples[now]));
        last = now;
    }
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.own()));
    gaps
}

fn between(from: &Sample, to: &Sample) -> Gap {
    let waited = |(thread, after): (&u32, &u64)| {
        let before = from.waited.get(thread).unwrap_or(&0);
        after.saturating_sub(*before)
    };
    Gap {
        lasted: to.at - from.at,
        starved: Duration::from_nanos(to.waited.iter().map(waited).max().unwrap_or_default()),
        busy: Duration::from_millis(10 * (to.ticks - from.ticks)),
    }
}

/// Time for which a ready thread had no core between two times, as far as samples show.
pub fn starved(samples: &[Sample], from: Instant, to: Instant) -> Duration {
    let before = samples.iter().rev().find(|sample| sample.at <= from);
    // An object that is found before its threshold has no delay.
    let after = samples.iter().find(|sample| sample.at >= to.max(from));
    match (before, after) {
        (Some(before), Some(after)) => between(before, after).starved,
        _ => Duration::ZERO,
    }
}

/// Summary of all samples.
pub fn summary(samples: &[Sample]) -> String {
    let (first, last) = (samples.first().unwrap(), samples.last().unwrap());
    let whole = between(first, last);
    let mut took: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    took.sort();
    let share = whole.busy.as_secs_f64() / whole.lasted.as_secs_f64();
    format!(
        "{} scrapes, median {:?}, slowest {:?}; {} views; {:.0} % of a core; {:.0} % of the time starved of one",
        samples.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        last.views - first.views,
        share * 100.0,
        whole.starved.as_secs_f64() / whole.lasted.as_secs_f64() * 100.0,
    )
}
